/** What regions have in common: principal components as colours, similarity to one region, the nearest elsewhere. */

import { decode, evaluationView, type ImageSource } from '../data/index.js';
import {
  blank,
  contactSheet,
  heatFigure,
  overlay,
  type Picture,
  panelFigure,
  paste,
  resample,
} from '../draw/index.js';
import {
  evaluationPlan,
  type GridSize,
  matchRegions,
  type Place,
  placeOf,
  regionAt,
  regionsOf,
} from '../eval/index.js';
import { cat, inferenceMode, scope, type Tensor } from '../torch/index.js';
import { type Analysis, placeName } from './analysis.js';
import { inputOf, type Subject } from './views.js';

/** Unit-length features of the regions of pictures of one size, on the CPU. */
function regionFeatures({ backbone, device }: Subject, pictures: readonly Picture[]) {
  return inferenceMode(() => {
    const features = backbone.forwardFeatures(inputOf(pictures, device));
    return {
      grid: features.grid,
      regions: pictures.map((_, i) => regionsOf(features, i).to({ device: 'cpu' })),
    };
  });
}

/**
 * The first three principal components of all regions as red, green and blue; alike regions have alike colours, in
 * one picture and between them.
 */
export async function drawComponents(
  subject: Subject,
  pictures: readonly { name: string; picture: Picture }[],
): Promise<Analysis> {
  const { grid, colours, shares } = scope(() => {
    const found = regionFeatures(
      subject,
      pictures.map(({ picture }) => picture),
    );
    return { grid: found.grid, ...componentColours(found.regions) };
  });
  const [rows, columns] = grid;
  const panels = pictures.flatMap(({ name, picture }, i) => [
    { title: name, picture },
    {
      title: 'components',
      picture: resample({ width: columns, height: rows, data: colours[i] }, picture.width, picture.height),
    },
  ]);
  const explained = shares.map((share) => `${(100 * share).toFixed(0)}%`).join(', ');
  return {
    title: 'Principal components',
    summary: `The first three principal components of the regions as red, green and blue; they hold ${explained} of the variance.`,
    drawings: [
      {
        name: 'components',
        caption: 'Regions of one colour are alike to the network.',
        figure: await panelFigure(panels, 'principal components of regions', { columns: 2, side: 220 }),
      },
    ],
    numbers: { grid, varianceShares: shares },
  };
}

/** Low and high ends of a component's colour: beyond are few regions. */
const CLIPPED = 0.02;

/** regions: [N, D] each -> RGB bytes for each region of each, and the shares of the variance */
function componentColours(regions: readonly Tensor[]): { colours: Uint8Array[]; shares: number[] } {
  return scope(() => {
    const wide = regions[0].shape[1];
    const all = cat([...regions], 0);
    const centred = all.sub(all.mean([0], true)).to({ dtype: 'float64' });
    const [values, vectors] = centred.t().matmul(centred).linalgEigh();
    const count = Math.min(3, wide);
    const variances = Array.from(values.toArray() as ArrayLike<number>, (v) => Math.max(0, v));
    const total = variances.reduce((sum, value) => sum + value, 0) || 1;
    const planes = Array.from({ length: count }, (_, i) => {
      const vector = vectors.select(1, wide - 1 - i);
      const scores = Array.from(centred.matmul(vector).toArray() as ArrayLike<number>);
      // The sign of an eigenvector is arbitrary: the longer tail points to the light end.
      const cubes = scores.reduce((sum, value) => sum + value ** 3, 0);
      return stretched(cubes < 0 ? scores.map((value) => -value) : scores);
    });
    let start = 0;
    const colours = regions.map((one) => {
      const data = new Uint8Array(one.shape[0] * 3);
      for (let i = 0; i < one.shape[0]; i++)
        for (let c = 0; c < 3; c++) data[i * 3 + c] = planes[c]?.[start + i] ?? 128;
      start += one.shape[0];
      return data;
    });
    return {
      colours,
      shares: variances
        .slice(-count)
        .reverse()
        .map((value) => value / total),
    };
  });
}

/** Values to bytes, from the low to the high end. */
function stretched(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))];
  const [low, high] = [at(CLIPPED), at(1 - CLIPPED)];
  const span = high - low || 1;
  return values.map((value) => Math.max(0, Math.min(255, Math.round((255 * (value - low)) / span))));
}

/** How similar every region of a picture (and of another one) is to the region at `place`. */
export async function drawSimilarity(
  subject: Subject,
  pictures: readonly { name: string; picture: Picture }[],
  place: Place,
): Promise<Analysis> {
  const { grid, maps } = scope(() => {
    const { grid, regions } = regionFeatures(
      subject,
      pictures.map(({ picture }) => picture),
    );
    const [row, column] = regionAt(place, grid);
    const query = regions[0].select(0, row * grid[1] + column);
    return { grid, maps: regions.map((one) => one.matmul(query).toFloat32()) };
  });
  const [height, width] = grid;
  const [row, column] = regionAt(place, grid);
  const mark = placeOf(row * width + column, grid);
  const low = Math.min(...maps.map((values) => Math.min(...values)));
  const panels = pictures.map(({ name, picture }, i) => ({
    title: name,
    picture: overlay(picture, { values: maps[i], width, height }, { low, high: 1 }),
    ...(i === 0 && { mark }),
  }));
  return {
    title: 'Similarity',
    summary: `Cosine between the region at ${place.join(',')} and every region.`,
    drawings: [
      {
        name: `similarity-${placeName(place)}`,
        caption: 'The ring marks the region that all others are compared with.',
        figure: await heatFigure(
          panels,
          { low, high: 1, title: 'cosine similarity with the marked region' },
          { columns: 2, side: 260 },
        ),
      },
    ],
    numbers: { grid, place: [...place], similarity: maps.map((values) => [...values]) },
  };
}

export interface NearestOptions {
  source: ImageSource;
  indices: Uint32Array;
  place: Place;
  /** how many regions to show, at most one of each picture */
  count: number;
  onProgress?: (done: number) => void;
}

interface Found {
  name: string;
  picture: Picture;
  region: number;
  similarity: number;
}

/** The regions of a data set that are most similar to the region at `place`, the best one of each picture. */
export async function drawNearestRegions(
  subject: Subject,
  picture: Picture,
  { source, indices, place, count, onProgress }: NearestOptions,
): Promise<Analysis> {
  const plan = evaluationPlan(subject.imageSize);
  const { grid, query } = scope(() => {
    const { grid, regions } = regionFeatures(subject, [picture]);
    const [row, column] = regionAt(place, grid);
    return {
      grid,
      query: regions[0]
        .narrow(0, row * grid[1] + column, 1)
        .clone()
        .keep(),
    };
  });
  let best: Found[] = [];
  const unreadable: string[] = [];
  try {
    for (const [done, index] of indices.entries()) {
      onProgress?.(done);
      const name = source.key(index);
      let other: Picture;
      try {
        other = evaluationView(await decode(await source.read(index)), plan);
      } catch {
        unreadable.push(name);
        continue;
      }
      const found = scope(() => matchRegions(query, regionFeatures(subject, [other]).regions[0]));
      best.push({ name, picture: other, region: found.index[0], similarity: found.similarity[0] });
      if (best.length >= 2 * count) best = surest(best, count);
    }
  } finally {
    query.dispose();
  }
  best = surest(best, count);
  const [row, column] = regionAt(place, grid);
  const cell = (shown: Picture, region: number) => framed(shown, region, grid);
  return {
    title: 'Nearest regions',
    summary: `The ${best.length} pictures of ${indices.length} with the region most similar to the one at ${place.join(',')}.`,
    drawings: [
      {
        name: `nearest-regions-${placeName(place)}`,
        caption: 'The frame shows the region; the figure below is its cosine.',
        figure: await contactSheet(
          [
            {
              text: 'query',
              cells: [{ picture: cell(picture, row * grid[1] + column), mark: 'query', text: 'query' }],
            },
            ...rowsOf(best, 4).map((found) => ({
              cells: found.map(({ picture: shown, region, similarity }) => ({
                picture: cell(shown, region),
                text: similarity.toFixed(3),
              })),
            })),
          ],
          { title: 'nearest regions', side: 130 },
        ),
      },
    ],
    tables: [
      {
        head: ['picture', 'cosine', 'place'],
        rows: best.map(({ name, region, similarity }) => [
          name,
          similarity.toFixed(4),
          placeOf(region, grid)
            .map((share) => share.toFixed(2))
            .join(', '),
        ]),
      },
    ],
    numbers: {
      place: [...place],
      nearest: best.map(({ name, region, similarity }) => ({
        name,
        place: placeOf(region, grid),
        similarity,
      })),
      unreadable,
    },
  };
}

const surest = (found: Found[], count: number): Found[] =>
  found.sort((a, b) => b.similarity - a.similarity).slice(0, count);

function rowsOf<T>(values: readonly T[], length: number): T[][] {
  return Array.from({ length: Math.ceil(values.length / length) }, (_, i) =>
    values.slice(i * length, (i + 1) * length),
  );
}

/** The picture with a frame around one region. */
function framed(picture: Picture, region: number, [rows, columns]: GridSize): Picture {
  const { width, height } = picture;
  const copy = { width, height, data: Uint8Array.from(picture.data) };
  const left = Math.floor(((region % columns) * width) / columns);
  const top = Math.floor((Math.floor(region / columns) * height) / rows);
  const [wide, high] = [Math.ceil(width / columns), Math.ceil(height / rows)];
  const line = Math.max(1, Math.round(width / 75));
  const bar = (x: number, y: number, w: number, h: number, grow: number, colour: [number, number, number]) =>
    paste(copy, blank(w + 2 * grow, h + 2 * grow, colour), x - grow, y - grow);
  for (const [grow, colour] of [
    [1, [0, 0, 0]],
    [0, [255, 255, 255]],
  ] as [number, [number, number, number]][]) {
    bar(left, top, wide, line, grow, colour);
    bar(left, top + high - line, wide, line, grow, colour);
    bar(left, top, line, high, grow, colour);
    bar(left + wide - line, top, line, high, grow, colour);
  }
  return copy;
}
