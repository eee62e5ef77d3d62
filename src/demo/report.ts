/** The demo's report: one HTML file that says what was done, what came of it, and how to do it again. */

import { type Block, figurePng, htmlPage, type Section } from '../draw/index.js';
import { type ReportFigures, reportFigures, standardError } from './figures.js';
import type { KnnResult, KnnRow, ReportData } from './report-data.js';

/** The whole page, self-contained. */
export async function buildReport(data: ReportData): Promise<string> {
  return pageOf(data, await reportFigures(data));
}

/** Each figure as a PNG by file name, e.g. for a README. */
export async function reportPngs(data: ReportData, scale = 2): Promise<Map<string, Buffer>> {
  const { knn, loss, health, crops, neighbours, correspondences } = await reportFigures(data);
  const named = Object.entries({ knn, loss, crops, neighbours, ...health });
  correspondences.forEach((figure, i) => {
    named.push([`correspondence-${i + 1}`, figure]);
  });
  const files = new Map<string, Buffer>();
  for (const [name, figure] of named) files.set(`${name}.png`, await figurePng(figure, { scale }));
  return files;
}

export interface Summary {
  tone: 'good' | 'unclear' | 'bad';
  word: string;
  sentence: string;
}

/** Whether training helped, judged against the better baseline and the noise of so many queries. */
export function summarise({ knn, trainSeconds, trainPictures }: ReportData): Summary {
  const { trained, untrained, rawPixels } = knn;
  const best = Math.max(untrained.top1, rawPixels.top1);
  const gain = trained.top1 - best;
  const noise =
    2 * Math.hypot(standardError(trained.top1, knn.querySize), standardError(best, knn.querySize));
  const sentence =
    `After ${duration(trainSeconds)} of training on ${count(trainPictures)} pictures without labels, ` +
    `${knn.k}-NN finds the class of ${percent(trained)} of ${count(knn.querySize)} held-out pictures, ` +
    `against ${percent(untrained)} with the untrained network and ${percent(rawPixels)} with raw pixels.`;
  if (gain > noise) return { tone: 'good', word: 'It learned', sentence };
  if (gain > -noise) return { tone: 'unclear', word: 'No clear gain', sentence };
  return { tone: 'bad', word: 'It did not learn', sentence };
}

function pageOf(data: ReportData, figures: ReportFigures): string {
  const { knn, health } = data;
  const { tone, word, sentence } = summarise(data);
  const sections: (Section | false)[] = [
    {
      title: 'What came of it',
      blocks: [
        { kind: 'figure', figure: figures.knn },
        knnTable(knn),
        {
          kind: 'text',
          text:
            `Each of ${count(knn.querySize)} held-out pictures is given the class of its ${knn.k} nearest neighbours among ` +
            `${count(knn.bankSize)} training pictures, weighted by similarity. Labels are used for this test only, never in training.`,
        },
        { kind: 'facts', facts: data.facts },
      ],
    },
    data.neighbours.length > 0 && {
      title: 'Nearest neighbours',
      blocks: [
        {
          kind: 'figure',
          figure: figures.neighbours,
          caption:
            'Left: held-out pictures. Right: the training pictures whose features are nearest, with class and cosine similarity. ' +
            'Full frame and tick: same class; dashed frame and cross: another.',
        },
      ],
    },
    data.correspondences.length > 0 && {
      title: 'Regions that match between two views',
      blocks: data.correspondences.map(
        ({ caption, accuracy }, i): Block => ({
          kind: 'figure',
          figure: figures.correspondences[i],
          caption:
            accuracy === undefined
              ? caption
              : `${caption} ${(accuracy * 100).toFixed(0)}% of the matches land on the right place.`,
        }),
      ),
    },
    {
      title: 'How training went',
      blocks: [
        {
          kind: 'text',
          text: `Verdict on the run: ${health.verdict}.${health.hint === undefined ? '' : ` ${health.hint}`}`,
        },
        {
          kind: 'figures',
          figures: [figures.loss, ...Object.values(figures.health)],
          caption:
            'A loss that settles at ln(out_dim) together with a teacher entropy there means collapse to uniform outputs; ' +
            'an entropy near 0 with a feature spread near 0 means collapse to one output. Faint: every value; strong: running mean.',
        },
      ],
    },
    data.crops.length > 0 && {
      title: 'What the network saw',
      blocks: [
        {
          kind: 'figure',
          figure: figures.crops,
          caption:
            'One row a picture, with all its crops of one batch, after every augmentation; local crops at their true proportion.',
        },
      ],
    },
    {
      title: 'Do it again',
      blocks: [
        { kind: 'code', text: data.command },
        { kind: 'details', summary: 'Resolved configuration', blocks: [{ kind: 'code', text: data.config }] },
      ],
    },
  ];
  return htmlPage({
    title: data.title,
    summary: sentence,
    verdict: { tone, text: word },
    sections: sections.filter((section) => section !== false),
    footer: `${count(data.iterations)} iterations. Everything on this page is in this file.`,
  });
}

function knnTable(knn: KnnResult): Block {
  const rows = [knn.rawPixels, knn.untrained, knn.trained];
  const wide = rows.every((row) => row.top5 !== undefined);
  return {
    kind: 'table',
    head: ['Features', 'top-1', '± s.e.', ...(wide ? ['top-5'] : [])],
    rows: rows.map((row) => [
      row.name,
      percent(row),
      standardError(row.top1, knn.querySize).toFixed(1),
      ...(wide ? [`${row.top5?.toFixed(1)}%`] : []),
    ]),
    strong: rows.length - 1,
  };
}

const percent = ({ top1 }: KnnRow): string => `${top1.toFixed(1)}%`;
const count = (value: number): string => value.toLocaleString('en-US');

function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
