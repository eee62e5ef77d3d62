/** Sliding-chunk attention written out as a matrix of all tokens, for people to look at. */

import { UserError } from '../../errors.js';
import { cat, scope, type Tensor, tensor, zeros } from '../../torch/index.js';
import type { ChunkLayout } from './chunks.js';
import type { Grid } from './options.js';

/** Is given the probabilities of one block: [B, heads, L, L]. */
export type MapObserver = (probabilities: Tensor) => void;

/** What local queries saw: [B, H, R, C, w², keys], or [B, H, N, globals] where `layout` is null. */
export interface LocalAttention {
  /** [B, N, dim] */
  mixed: Tensor;
  probabilities: Tensor;
  layout: ChunkLayout | null;
}

/** More elements than this are no picture any more (half a GiB). */
const MOST = 2 ** 27;

/**
 * What local and global queries saw, as one matrix [B, heads, L, L] with the global tokens first; zero where a
 * query cannot look. A pooled key's share is spread over the tokens of its chunk. With chunks on a ring, filling at
 * the border takes part; its share is left out and the row brought back to 1.
 */
export function denseMap(local: LocalAttention, all: Tensor | null, globals: number, grid: Grid): Tensor {
  return scope(() => {
    const { probabilities, layout } = local;
    const [batch, heads] = probabilities.shape;
    const locals = grid[0] * grid[1];
    const length = globals + locals;
    if (batch * heads * length * length > MOST)
      throw new UserError(
        'usage',
        `the attention of ${batch} pictures with ${grid.join(' x ')} tokens and ${heads} heads is too large to be ` +
          'written out; give fewer or smaller pictures.',
      );
    const rows =
      layout === null ? onlyGlobals(probabilities, locals) : spread(probabilities, layout, globals, grid);
    return all === null ? rows : cat([all, rows], 2);
  });
}

/** [B, H, N, g] -> [B, H, N, g + N] */
function onlyGlobals(probabilities: Tensor, locals: number): Tensor {
  return probabilities.constantPadNd([0, locals]);
}

/** [B, H, R, C, w², globals + keys (+ pools)] -> [B, H, N, globals + N] */
function spread(probabilities: Tensor, layout: ChunkLayout, globals: number, grid: Grid): Tensor {
  const { chunk, rows, columns, offsets } = layout;
  const [batch, heads] = probabilities.shape;
  const keys = offsets.length * chunk * chunk;
  const locals = grid[0] * grid[1];
  const width = probabilities.shape[5];
  const seen = probabilities
    .reshape([batch, heads, rows, columns, chunk, chunk, width])
    .permute([0, 1, 2, 4, 3, 5, 6])
    .reshape([batch, heads, rows * chunk, columns * chunk, width])
    .narrow(2, 0, grid[0])
    .narrow(3, 0, grid[1])
    .reshape([batch, heads, locals, width]);
  const places = keyTokens(layout, globals, grid)
    .to({ device: probabilities.device })
    .view([rows, 1, columns, 1, globals + keys])
    .expand([-1, chunk, -1, chunk, -1])
    .reshape([rows * chunk, columns * chunk, globals + keys])
    .narrow(0, 0, grid[0])
    .narrow(1, 0, grid[1])
    .reshape([1, 1, locals, globals + keys])
    .expand([batch, heads, -1, -1]);
  const empty = zeros([batch, heads, locals, globals + locals + 1], {
    dtype: probabilities.dtype,
    device: probabilities.device,
  });
  const near = empty.scatterAdd(3, places, seen.narrow(-1, 0, globals + keys));
  const pools = seen.shape[3] - globals - keys;
  const far =
    pools === 0
      ? near
      : near.add(
          seen
            .narrow(-1, globals + keys, pools)
            .matmul(chunkShares(layout, globals, grid).to({ device: seen.device, dtype: seen.dtype })),
        );
  const filled = far.narrow(3, globals + locals, 1);
  return far.narrow(3, 0, globals + locals).div(filled.neg().add(1));
}

/** What each token has of its chunk: [R * C, globals + N + 1] */
function chunkShares({ chunk, rows, columns }: ChunkLayout, globals: number, grid: Grid): Tensor {
  const width = globals + grid[0] * grid[1] + 1;
  const shares = new Float32Array(rows * columns * width);
  const inside = (at: number, size: number) => Math.min(chunk, size - at * chunk);
  for (let y = 0; y < grid[0]; y++)
    for (let x = 0; x < grid[1]; x++) {
      const [top, left] = [Math.floor(y / chunk), Math.floor(x / chunk)];
      const count = inside(top, grid[0]) * inside(left, grid[1]);
      shares[(top * columns + left) * width + globals + y * grid[1] + x] = 1 / count;
    }
  return tensor(shares, { shape: [rows * columns, width] });
}

/** Number of the token behind each key, one too many for filling: int64 [R, C, globals + keys] */
function keyTokens(layout: ChunkLayout, globals: number, grid: Grid): Tensor {
  const { chunk, rows, columns, offsets } = layout;
  const area = chunk * chunk;
  const keys = globals + offsets.length * area;
  const none = globals + grid[0] * grid[1];
  const tokens = new BigInt64Array(rows * columns * keys);
  let at = 0;
  for (let top = 0; top < rows; top++)
    for (let left = 0; left < columns; left++) {
      for (let token = 0; token < globals; token++) tokens[at++] = BigInt(token);
      for (const [dy, dx] of offsets)
        for (let key = 0; key < area; key++) {
          const y = ((top + dy + rows) % rows) * chunk + Math.floor(key / chunk);
          const x = ((left + dx + columns) % columns) * chunk + (key % chunk);
          tokens[at++] = BigInt(y < grid[0] && x < grid[1] ? globals + y * grid[1] + x : none);
        }
    }
  return tensor(tokens, { shape: [rows, columns, keys] });
}
