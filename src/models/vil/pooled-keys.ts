/** Keys that stand for whole chunks, seen by every query beside its own surroundings (`r1` in ARCH). */

import { Buffer, Linear, Parameter, truncatedNormal } from '../../nn/index.js';
import { cat, ones, scope, stack, type Tensor, zeros } from '../../torch/index.js';
import type { ChunkLayout } from './chunks.js';
import type { Grid, StageAttentionOptions } from './options.js';
import { type GridPositionIndices, gridPositionIndex, resizeBiasTable } from './relative-bias.js';

export interface PooledParts {
  /** [1, heads] */
  keyScale: Parameter;
  /** [1, heads] */
  valueScale: Parameter;
  /** from chunk to chunk: [(2 rows - 1) (2 columns - 1), heads] */
  table: Parameter;
  /** int64 [rows * columns, rows * columns] */
  index: Buffer;
  /** one weight for each token of a chunk, instead of the mean */
  fc: Linear | null;
}

/** Whole chunks at the size of construction. */
function chunksOf({ grid, features }: StageAttentionOptions): Grid {
  return [Math.floor(grid[0] / features), Math.floor(grid[1] / features)];
}

export function pooledParts(options: StageAttentionOptions): PooledParts {
  const { numHeads, features, poolMethod } = options;
  const [rows, columns] = chunksOf(options);
  return {
    keyScale: new Parameter(ones([1, numHeads])),
    valueScale: new Parameter(ones([1, numHeads])),
    table: new Parameter(truncatedNormal(zeros([(2 * rows - 1) * (2 * columns - 1), numHeads]), 0.02)),
    index: new Buffer(gridPositionIndex([rows, columns])),
    fc: poolMethod === 'fc' ? new Linear(features ** 2, 1) : null,
  };
}

/**
 * local: [2, B, H, R, C, w², M], keys and values -> [2, B, H, 1, 1, R * C, M]. The fully connected way makes values
 * of the keys, too; so does the original.
 */
export function pooledKeys(
  local: Tensor,
  { keyScale, valueScale, fc }: Pick<PooledParts, 'keyScale' | 'valueScale' | 'fc'>,
): Tensor {
  return scope(() => {
    const [, batch, heads, rows, columns, , width] = local.sizes(7);
    const chunks = rows * columns;
    const means = (): Tensor => local.mean([5]).view([2, batch, heads, chunks, width]);
    const weighted = (map: Linear): Tensor => {
      const keys = map.forward(local.select(0, 0).transpose(-2, -1)).view([batch, heads, chunks, width]);
      return stack([keys, keys], 0);
    };
    const scales = cat([keyScale, valueScale], 0).view([2, 1, heads, 1, 1]);
    return (fc === null ? means() : weighted(fc)).mul(scales).unsqueeze(3).unsqueeze(3);
  });
}

/** The bias from each chunk to each: [heads, R, C, 1, R * C]; a map of another size gets a resampled table. */
export function pooledBias(
  table: Tensor,
  indices: GridPositionIndices,
  options: StageAttentionOptions,
  layout: ChunkLayout,
): Tensor {
  return scope(() => {
    const made = chunksOf(options);
    const { rows, columns } = layout;
    const fits = made[0] === rows && made[1] === columns;
    const values = fits ? table : resizeBiasTable(table, made, [rows, columns]);
    const chunks = rows * columns;
    const index = indices.for([rows, columns], table.device);
    const picked = values.gather(0, index.view([chunks * chunks, 1]).expand([-1, options.numHeads]));
    return picked.view([rows, columns, 1, chunks, options.numHeads]).permute([4, 0, 1, 2, 3]);
  });
}
