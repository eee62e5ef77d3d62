/** Attention as numbers: what one query looks at, how spread out each head is, which regions hold most of the mass. */

import type { AttentionMap } from '../models/index.js';
import { scope, type Tensor } from '../torch/index.js';

/** A place in a picture, as shares of its width and height. */
export type Place = readonly [x: number, y: number];

/** What each head of a block gives to the regions of a picture, for one query. */
export interface QueryAttention {
  block: number;
  stage: number;
  grid: readonly [rows: number, columns: number];
  /** the query's region in the grid; undefined for the class token */
  query: readonly [row: number, column: number] | undefined;
  /** for each head, rows * columns shares, row by row; 0 where the query cannot look (outside of its window) */
  heads: Float32Array[];
}

/** -Σ p·log2(p) over the last dimension, in bits. p: [..., L] -> [...] */
export function entropyBits(p: Tensor): Tensor {
  return scope(() =>
    p
      .mul(p.clampMin(1e-30).log2())
      .sum([p.ndim - 1])
      .neg(),
  );
}

/** Mean entropy of every head over all windows and queries of a batch, in bits. */
export function headEntropies({ probabilities }: AttentionMap): Float32Array {
  return scope(() => entropyBits(probabilities).mean([0, 2]).toFloat32());
}

/** The region that holds a place. */
export function regionAt([x, y]: Place, [rows, columns]: readonly [number, number]): [number, number] {
  const cell = (share: number, count: number) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
  return [cell(y, rows), cell(x, columns)];
}

/**
 * The attention of the region at `place` of the batch's first picture, or of the first extra token (class token,
 * global token) where there is one and `place` is 'class'.
 */
export function queryAttention(map: AttentionMap, place: Place | 'class'): QueryAttention | undefined {
  const { block, stage, grid, probabilities, windowSize } = map;
  if (place === 'class') {
    const extra = extraTokens(map);
    if (extra === 0) return undefined;
    const heads = scope(() => rowsOf(probabilities.select(0, 0).select(1, 0), extra));
    return { block, stage, grid, query: undefined, heads };
  }
  const query = regionAt(place, grid);
  const heads = windowSize === 0 ? globalRow(map, query) : windowRow(map, query);
  return { block, stage, grid, query, heads };
}

function extraTokens({ probabilities, grid, windowSize }: AttentionMap): number {
  return windowSize === 0 ? probabilities.shape[3] - grid[0] * grid[1] : 0;
}

/** p: [heads, L] -> what each head gives to the tokens after the first `extra` */
function rowsOf(p: Tensor, extra: number): Float32Array[] {
  return p.unbind(0).map((head) => head.slice(0, extra).toFloat32());
}

function globalRow(map: AttentionMap, [row, column]: readonly [number, number]): Float32Array[] {
  const extra = extraTokens(map);
  return scope(() =>
    rowsOf(map.probabilities.select(0, 0).select(1, extra + row * map.grid[1] + column), extra),
  );
}

/** Windows lie row by row over the picture, padded to whole windows and rolled up and left by `shift`. */
function windowRow(
  { probabilities, grid: [rows, columns], windowSize: side, shift }: AttentionMap,
  [row, column]: readonly [number, number],
): Float32Array[] {
  const [down, across] = [rows, columns].map((length) => Math.ceil(length / side) * side);
  const rolled = (at: number, length: number) => (at - shift + length) % length;
  const [y, x] = [rolled(row, down), rolled(column, across)];
  const [windowY, windowX] = [Math.floor(y / side), Math.floor(x / side)];
  const within = (y % side) * side + (x % side);
  return scope(() =>
    probabilities
      .select(0, windowY * (across / side) + windowX)
      .select(1, within)
      .unbind(0)
      .map((head) => {
        const values = head.toFloat32();
        const all = new Float32Array(rows * columns);
        for (const [i, value] of values.entries()) {
          const to = (windowY * side + Math.floor(i / side) + shift) % down;
          const right = (windowX * side + (i % side) + shift) % across;
          if (to < rows && right < columns) all[to * columns + right] = value;
        }
        return all;
      }),
  );
}

/**
 * The fewest regions that together hold more than `share` of the mass (Caron et al. 2021, figure 1): 1 where kept.
 * Values are taken from the smallest on; those within the first 1 - `share` of the sum are dropped.
 */
export function massMask(values: Float32Array, share: number): Uint8Array {
  const order = Array.from(values.keys()).sort((a, b) => values[a] - values[b] || a - b);
  const total = values.reduce((sum, value) => sum + value, 0);
  const mask = new Uint8Array(values.length);
  let sum = 0;
  for (const i of order) {
    sum += values[i];
    mask[i] = sum / total > 1 - share ? 1 : 0;
  }
  return mask;
}

/** Heads from the most to the least spread out, by the entropy of these shares. */
export function headsByEntropy(heads: readonly Float32Array[]): number[] {
  const bits = heads.map((head) => head.reduce((sum, p) => sum - (p > 0 ? p * Math.log2(p) : 0), 0));
  return Array.from(heads.keys()).sort((a, b) => bits[b] - bits[a]);
}
