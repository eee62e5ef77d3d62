/** What the demo measures of a network: k-NN accuracy, neighbours of pictures, matches between two views. */

import { decode, type ImageSource, normalise, toPlanes } from '../data/index.js';
import {
  describeScene,
  OBJECT_CLASSES,
  otherView,
  pixelMap,
  plainView,
  renderScene,
} from '../data/scenes/index.js';
import type { Match, Picture } from '../draw/index.js';
import {
  evaluationPlan,
  extractFeatures,
  extractPixels,
  type FeatureTable,
  knnAccuracy,
} from '../eval/index.js';
import type { Backbone } from '../models/index.js';
import { inferenceMode, scope, tensor } from '../torch/index.js';
import type { KnnRow, NeighbourRow } from './report-data.js';

export interface PictureSets {
  bank: ImageSource;
  queries: ImageSource;
}

/** Neighbours that vote. */
export const K = 20;
const TEMPERATURE = 0.07;

/** Features of both sets, by a network or, without one, the pixels. */
export interface Described {
  bank: FeatureTable;
  queries: FeatureTable;
}

export async function describe(
  sets: PictureSets,
  size: number,
  backbone: Backbone | undefined,
  onProgress?: (done: number) => void,
): Promise<Described> {
  const of = (source: ImageSource, before: number) => {
    const options = {
      plan: evaluationPlan(size),
      batchSize: 128,
      workers: 1,
      device: backbone?.parameters()[0].device ?? 'cpu',
      onProgress: (done: number) => onProgress?.(before + done),
    };
    return backbone === undefined
      ? extractPixels(source, options)
      : extractFeatures(backbone, source, options);
  };
  return { bank: await of(sets.bank, 0), queries: await of(sets.queries, sets.bank.length) };
}

export function release({ bank, queries }: Described): void {
  for (const table of [bank, queries]) {
    table.features.dispose();
    table.labels.dispose();
  }
}

export function knnRow(name: string, { bank, queries }: Described): KnnRow {
  const [{ top1, top5 }] = knnAccuracy(bank, queries, { ks: [K], temperatures: [TEMPERATURE] });
  return { name, top1, top5 };
}

/** The nearest training pictures of the first held-out picture of each class, for up to `rows` classes. */
export async function nearestPictures(
  sets: PictureSets,
  described: Described,
  rows: number,
  columns: number,
): Promise<NeighbourRow[]> {
  const result: NeighbourRow[] = [];
  const load = async (source: ImageSource, index: number) => decode(await source.read(index));
  const name = (source: ImageSource, index: number) => source.classes[source.label(index)] ?? 'unknown';
  for (let label = 0; label < Math.min(rows, sets.queries.classes.length); label++) {
    const row = described.queries.indices.findIndex((index) => sets.queries.label(index) === label);
    if (row < 0) continue;
    const [values, places] = scope(() => {
      const similarity = described.bank.features.matmul(described.queries.features.select(0, row));
      const [best, at] = similarity.topk(columns, 0, true, true);
      return [best.toFloat32(), Array.from(at.toArray(), Number)] as const;
    });
    const index = described.queries.indices[row];
    const neighbours = [];
    for (const [i, place] of places.entries()) {
      const found = described.bank.indices[place];
      neighbours.push({
        picture: await load(sets.bank, found),
        label: name(sets.bank, found),
        similarity: values[i],
      });
    }
    result.push({
      query: { picture: await load(sets.queries, index), label: name(sets.queries, index) },
      neighbours,
    });
  }
  return result;
}

/** Two views of one drawn scene, with the map from the one to the other (shares of the sides). */
export interface ViewPair {
  left: Picture;
  right: Picture;
  map: (x: number, y: number) => readonly [x: number, y: number];
}

const PAIR_VARIATION = 0.5;

/** Side of the views: larger than the crops of training, so that there are many regions. */
const PAIR_SIZE = 128;

export async function viewPair(seed: number): Promise<ViewPair> {
  const scene = describeScene(OBJECT_CLASSES[seed % OBJECT_CLASSES.length], `pair ${seed}`, PAIR_VARIATION);
  const [first, second] = [
    plainView(`pair ${seed}`, PAIR_VARIATION),
    otherView(`pair ${seed}`, PAIR_VARIATION),
  ];
  return {
    left: await renderScene(scene, { size: PAIR_SIZE, view: first }),
    right: await renderScene(scene, { size: PAIR_SIZE, view: second }),
    map: pixelMap(first, second, 1),
  };
}

export interface RegionMatches {
  matches: Match[];
  /** share of the matches that land within one region of the right place */
  accuracy: number;
}

/** Each region of the left view with its most similar region of the right one, as training matches them. */
export function matchRegions(backbone: Backbone, { left, right, map }: ViewPair): RegionMatches {
  const { tokens, grid } = inferenceMode(() =>
    scope(() => {
      const pixels = [left, right].map(({ data, width, height }) =>
        tensor(new Uint8Array(data), { shape: [1, height, width, 3] }),
      );
      const device = backbone.parameters()[0].device;
      const both = pixels.map((one) => backbone.forwardFeatures(normalise(toPlanes(one, device))));
      const [first, second] = both.map(({ tokens: found }) => {
        const [row] = found.to({ dtype: 'float32' }).unbind(0);
        return row.div(row.square().sum([1], true).sqrt().clampMin(1e-12));
      });
      const [best, at] = first.matmul(second.t()).maxDim(1);
      return { tokens: [best.toFloat32(), Array.from(at.toArray(), Number)] as const, grid: both[0].grid };
    }),
  );
  const [rows, columns] = grid;
  const place = (index: number) =>
    [((index % columns) + 0.5) / columns, (Math.floor(index / columns) + 0.5) / rows] as const;
  const [similarities, targets] = tokens;
  const matches: Match[] = [];
  let hits = 0;
  for (const [i, target] of targets.entries()) {
    const from = place(i);
    const there = map(from[0], from[1]);
    if (there.some((share) => share < 0 || share > 1)) continue;
    const to = place(target);
    const isNear = Math.abs(to[0] - there[0]) * columns <= 1 && Math.abs(to[1] - there[1]) * rows <= 1;
    if (isNear) hits++;
    matches.push({ from, to, similarity: similarities[i] });
  }
  return { matches, accuracy: hits / Math.max(1, matches.length) };
}
