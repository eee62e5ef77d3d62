/** Which region of one picture is most similar to which of another, and how often that is the right one. */

import type { Features } from '../models/index.js';
import { scope, type Tensor } from '../torch/index.js';
import type { Place } from './attention.js';

/** Cosines of one picture's regions with another's best. */
export interface RegionMatching {
  /** [N] the most similar region of the second picture, for each region of the first */
  index: Int32Array;
  /** [N] its cosine */
  similarity: Float32Array;
}

export interface RegionMatch {
  query: number;
  match: number;
  similarity: number;
}

/** x: [..., D] -> rows of length 1 */
export function unitRows(x: Tensor): Tensor {
  return scope(() => x.div(x.norm(2, [x.ndim - 1], true).clampMin(1e-12)));
}

/** Regions of picture `at` of a batch, as rows of length 1: [N, D] */
export function regionsOf({ tokens }: Features, at = 0): Tensor {
  return scope(() => unitRows(tokens.select(0, at).to({ dtype: 'float32' })));
}

/** first: [N, D], second: [M, D], rows of length 1. Of equally similar regions the first one counts. */
export function matchRegions(first: Tensor, second: Tensor): RegionMatching {
  return scope(() => {
    const [best, at] = first.matmul(second.t()).maxDim(1);
    return { similarity: best.toFloat32(), index: Int32Array.from(Array.from(at.toArray(), Number)) };
  });
}

/** The matches of all regions, the surest first. */
export function rankedMatches({ index, similarity }: RegionMatching): RegionMatch[] {
  return Array.from(index, (match, query) => ({ query, match, similarity: similarity[query] })).sort(
    (a, b) => b.similarity - a.similarity || a.query - b.query,
  );
}

/** Where a whole picture's feature fits best in a picture. */
export interface BestPlace {
  region: number;
  similarity: number;
}

/** pooled: [D], regions: [N, D] with rows of length 1 */
export function bestPlace(pooled: Tensor, regions: Tensor): BestPlace {
  const { index, similarity } = scope(() =>
    matchRegions(unitRows(pooled.to({ dtype: 'float32' }).reshape([1, -1])), regions),
  );
  return { region: index[0], similarity: similarity[0] };
}

export type GridSize = readonly [rows: number, columns: number];

/** The middle of a region, as shares of the picture. */
export function placeOf(region: number, [rows, columns]: GridSize): Place {
  return [((region % columns) + 0.5) / columns, (Math.floor(region / columns) + 0.5) / rows];
}

export interface CorrespondenceScore {
  /** share of the matches that hit the right region */
  accuracy: number;
  /** mean distance from the right place, in pixels */
  distance: number;
  /** mean cosine */
  similarity: number;
  /** how many matches were judged: those whose right place lies in the second picture */
  count: number;
}

export interface ScoreOptions {
  grid: GridSize;
  /** where a place of the first picture lies in the second; outside of 0..1: not in it */
  map: (place: Place) => Place;
  /** height and width of the second picture in pixels */
  size: readonly [height: number, width: number];
  /** by how many regions a match may miss and still count as right: 0 = the very region */
  tolerance?: number;
}

/** How good matches are where the truth is known. Undefined where none can be judged. */
export function scoreMatches(
  matches: readonly RegionMatch[],
  { grid, map, size: [height, width], tolerance = 0 }: ScoreOptions,
): CorrespondenceScore | undefined {
  const [rows, columns] = grid;
  let [hits, distance, similarity, count] = [0, 0, 0, 0];
  for (const { query, match, similarity: cosine } of matches) {
    const truth = map(placeOf(query, grid));
    if (truth.some((share) => share < 0 || share >= 1)) continue;
    const found = placeOf(match, grid);
    const [dx, dy] = [found[0] - truth[0], found[1] - truth[1]];
    count++;
    similarity += cosine;
    distance += Math.hypot(dx * width, dy * height);
    const [column, row] = [Math.floor(truth[0] * columns), Math.floor(truth[1] * rows)];
    const isNear =
      tolerance === 0
        ? match === row * columns + column
        : Math.abs(dx) * columns <= tolerance && Math.abs(dy) * rows <= tolerance;
    if (isNear) hits++;
  }
  return count === 0
    ? undefined
    : { accuracy: hits / count, distance: distance / count, similarity: similarity / count, count };
}
