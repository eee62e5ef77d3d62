/** The report's figures, each also good for a README on its own. */

import {
  barChart,
  contactSheet,
  correspondenceFigure,
  type Figure,
  lineChart,
  type Series,
  smoothed,
} from '../draw/index.js';
import type {
  CorrespondencePanel,
  CropRow,
  Curve,
  KnnResult,
  NeighbourRow,
  ReportData,
} from './report-data.js';

export interface ReportFigures {
  knn: Figure;
  loss: Figure;
  /** What else was measured, by name. */
  health: Record<string, Figure>;
  crops: Figure;
  neighbours: Figure;
  correspondences: Figure[];
}

export async function reportFigures(data: ReportData): Promise<ReportFigures> {
  const [knn, loss, health, crops, neighbours, correspondences] = await Promise.all([
    knnFigure(data.knn),
    lossFigure(data),
    healthFigures(data),
    cropsFigure(data.crops),
    neighboursFigure(data.neighbours),
    Promise.all(data.correspondences.map(matchesFigure)),
  ]);
  return { knn, loss, health, crops, neighbours, correspondences };
}

/** Standard error of an accuracy in percent over `count` independent queries. */
export function standardError(percent: number, count: number): number {
  const share = percent / 100;
  return 100 * Math.sqrt(Math.max(0, share * (1 - share)) / Math.max(1, count));
}

function knnFigure(knn: KnnResult): Promise<Figure> {
  const rows = [knn.rawPixels, knn.untrained, knn.trained];
  const bars = rows.map(({ name, top1 }) => ({
    name,
    value: top1,
    error: 2 * standardError(top1, knn.querySize),
  }));
  const chance = 100 / knn.classes;
  return barChart(bars, {
    title: `${knn.k}-NN top-1 on held-out pictures`,
    x: 'top-1, % (whiskers: two standard errors)',
    most: 100,
    format: (value) => `${value.toFixed(1)}%`,
    reference: { value: chance, text: `chance ${Number(chance.toFixed(1))}%` },
  });
}

/** The raw values faint, their running mean on top. */
function meanOver(name: string, { x, y }: Curve): Series[] {
  const span = Math.floor(y.length / 60);
  if (span < 1) return [{ name, x, y }];
  return [
    { name, x, y, faint: true },
    { name, x, y: smoothed(y, span) },
  ];
}

function lossFigure({ curves, outDim }: ReportData): Promise<Figure> {
  const { loss, viewLoss, regionLoss } = curves;
  const parts =
    viewLoss !== undefined && regionLoss !== undefined
      ? [...meanOver('view', viewLoss), ...meanOver('region', regionLoss)]
      : [];
  return lineChart([...meanOver('total', loss), ...parts], {
    title: 'Loss',
    x: 'iteration',
    y: 'cross-entropy, nats',
    references: [
      { y: Math.log(outDim), text: `ln(${outDim}) = ${Math.log(outDim).toFixed(2)}: uniform output` },
    ],
  });
}

interface HealthChart {
  title: string;
  y: string;
  curves: [name: string, curve: Curve | undefined][];
  references?: { y: number; text: string }[];
  include?: number[];
  logarithmic?: boolean;
  mean?: boolean;
}

async function healthFigures({ curves: c, outDim }: ReportData): Promise<Record<string, Figure>> {
  const uniform = { y: Math.log(outDim), text: `ln(${outDim}): uniform` };
  const charts: Record<string, HealthChart> = {
    entropy: {
      title: 'Entropy of the outputs',
      y: 'nats',
      curves: [
        ['teacher', c.teacherEntropy],
        ['student', c.studentEntropy],
      ],
      references: [uniform],
      include: [0],
    },
    kl: { title: 'KL(teacher ‖ student)', y: 'nats', curves: [['KL', c.kl]], include: [0] },
    'feature-std': {
      title: 'Feature spread',
      y: 'std per dimension, mean',
      curves: [['std', c.featureStd]],
      include: [0],
    },
    'effective-rank': {
      title: 'Effective rank of the features',
      y: 'dimensions',
      curves: [['rank', c.effectiveRank]],
      include: [0],
    },
    'gradient-norm': {
      title: 'Gradient norm',
      y: 'before clipping',
      curves: [['norm', c.gradientNorm]],
      logarithmic: true,
      mean: true,
    },
    'centre-norm': { title: 'Norm of the centre', y: 'L2', curves: [['centre', c.centreNorm]], include: [0] },
    lr: { title: 'Learning rate', y: 'per step', curves: [['lr', c.lr]], include: [0] },
    momentum: { title: 'Teacher momentum', y: 'per step', curves: [['momentum', c.momentum]] },
    speed: {
      title: 'Speed',
      y: 'images/s',
      curves: [['images/s', c.imagesPerSecond]],
      include: [0],
      mean: true,
    },
  };
  const figures: Record<string, Figure> = {};
  for (const [name, { title, y, curves, references, include, logarithmic, mean }] of Object.entries(charts)) {
    const series = curves.flatMap(([label, curve]) => {
      if (curve === undefined || curve.y.length === 0) return [];
      return mean ? meanOver(label, curve) : [{ name: label, ...curve }];
    });
    if (series.length > 0)
      figures[name] = await lineChart(series, { title, x: 'iteration', y, references, include, logarithmic });
  }
  return figures;
}

function cropsFigure(rows: readonly CropRow[]): Promise<Figure> {
  const sizes = rows[0]?.views.map((view) => view.width) ?? [];
  const largest = Math.max(...sizes);
  const globals = sizes.filter((size) => size === largest).map((_, i) => `global ${i + 1}`);
  const columns = globals.length < sizes.length ? [...globals, 'local'] : globals;
  return contactSheet(
    rows.map(({ views }) => ({ cells: views.map((picture) => ({ picture })) })),
    { title: 'Crops of a batch as the network saw them', columns, side: 96, stack: true },
  );
}

function neighboursFigure(rows: readonly NeighbourRow[]): Promise<Figure> {
  const most = Math.max(0, ...rows.map((row) => row.neighbours.length));
  return contactSheet(
    rows.map(({ query, neighbours }) => ({
      cells: [
        { picture: query.picture, text: query.label, mark: 'query' as const },
        ...neighbours.map(({ picture, label, similarity }) => ({
          picture,
          text: `${label} ${similarity.toFixed(2)}`,
          mark: label === query.label ? ('right' as const) : ('wrong' as const),
        })),
      ],
    })),
    {
      title: 'Nearest neighbours of held-out pictures',
      side: 72,
      firstGap: 18,
      columns: ['query', ...Array.from({ length: most }, (_, i) => `${i + 1}`)],
    },
  );
}

function matchesFigure({ left, right, matches, caption }: CorrespondencePanel): Promise<Figure> {
  return correspondenceFigure(left, right, matches, { title: caption, side: 250 });
}
