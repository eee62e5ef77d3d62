/** Tables of biases for relative positions on a grid, and how they are read on a grid of another size. */

import { scope, type Tensor, tensor } from '../../torch/index.js';
import type { Grid } from './options.js';

/**
 * For each pair (query, key) of a grid the row of the bias table that belongs to their offset:
 * (dy + rows-1) * (2 columns-1) + (dx + columns-1). int64 [rows * columns, rows * columns]
 */
export function gridPositionIndex([rows, columns]: Grid): Tensor {
  const length = rows * columns;
  const index = new BigInt64Array(length * length);
  for (let query = 0; query < length; query++)
    for (let key = 0; key < length; key++) {
      const dy = Math.floor(query / columns) - Math.floor(key / columns) + rows - 1;
      const dx = (query % columns) - (key % columns) + columns - 1;
      index[query * length + key] = BigInt(dy * (2 * columns - 1) + dx);
    }
  return tensor(index, { shape: [length, length] });
}

/** Such indices by size of the grid and device, made once each. */
export class GridPositionIndices {
  private readonly cache = new Map<string, Tensor>();

  for(grid: Grid, device: string): Tensor {
    const key = `${grid.join('x')}@${device}`;
    let index = this.cache.get(key);
    if (index === undefined) {
      index = scope(() => gridPositionIndex(grid).to({ device })).keep();
      this.cache.set(key, index);
    }
    return index;
  }
}

/** table: [(2 rows-1) (2 columns-1), heads] of a `from` grid -> the same for a `to` grid, bicubic */
export function resizeBiasTable(table: Tensor, from: Grid, to: Grid): Tensor {
  return scope(() => {
    const heads = table.shape[1];
    const span = (size: number) => 2 * size - 1;
    return table
      .view([1, span(from[0]), span(from[1]), heads])
      .permute([0, 3, 1, 2])
      .upsampleBicubic2d([span(to[0]), span(to[1])], false)
      .permute([0, 2, 3, 1])
      .reshape([span(to[0]) * span(to[1]), heads]);
  });
}

/**
 * bias: [L, L, heads], a pair of tokens of a `from` grid at each place -> [L', L', heads]. The matrix itself is
 * resampled, as if token numbers were a line: what the original does for square maps of another size.
 */
export function resizePairBias(bias: Tensor, length: number): Tensor {
  return scope(() => {
    const [from] = bias.sizes(3);
    const scale = length / from;
    return bias
      .permute([2, 0, 1])
      .unsqueeze(0)
      .upsampleBicubic2d([length, length], false, scale, scale)
      .squeeze(0)
      .permute([1, 2, 0]);
  });
}
