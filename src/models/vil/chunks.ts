/** Square chunks over a map of tokens, each with the eight around it: which there are, and what is masked. */

import { cat, scope, type Tensor, tensor } from '../../torch/index.js';
import type { Exactness, Grid } from './options.js';

/** Offsets of the chunks around one, row by row; the one itself is number 4. */
const AROUND: readonly (readonly [number, number])[] = [-1, 0, 1].flatMap((dy) =>
  [-1, 0, 1].map((dx) => [dy, dx] as const),
);
const OWN = 4;

/** The map cut into chunks, and the keys of each chunk's queries: those of `neighbours`, one after the other. */
export interface ChunkLayout {
  chunk: number;
  /** chunks along rows and columns */
  rows: number;
  columns: number;
  /** tokens added below and to the right */
  bottom: number;
  right: number;
  /** numbers of the chunks whose keys are seen, and their offsets */
  neighbours: readonly number[];
  offsets: readonly (readonly [dy: number, dx: number])[];
  /** [rows, columns, 1 or chunk², globals + keys]: 0, or minus infinity for what is not seen; null if all is */
  mask: Tensor | null;
}

/**
 * `mode`: 0 for all chunks around, -1 for the own one, 1..8 for the own one and that neighbour. Chunks that
 * nothing in the map can see are left out: what they would add is exactly nothing.
 */
export function layoutOf(
  grid: Grid,
  chunk: number,
  mode: number,
  exact: Exactness,
  globals: number,
): ChunkLayout {
  const [rows, columns] = grid.map((size) => Math.ceil(size / chunk));
  const [bottom, right] = [rows * chunk - grid[0], columns * chunk - grid[1]];
  const wanted =
    mode === 0 ? AROUND.map((_, i) => i) : mode === -1 ? [OWN] : [OWN, mode > 4 ? mode : mode - 1];
  const neighbours = wanted.filter((i) => {
    const [dy, dx] = AROUND[i];
    return exact === -1 || (Math.abs(dy) < rows && Math.abs(dx) < columns);
  });
  const layout = {
    chunk,
    rows,
    columns,
    bottom,
    right,
    neighbours,
    offsets: neighbours.map((i) => AROUND[i]),
  };
  return { ...layout, mask: maskOf(layout, grid, exact, globals) };
}

/** The mask of a layout on the CPU; exact reach needs a row for each query, otherwise one does for a chunk. */
function maskOf(
  layout: Omit<ChunkLayout, 'mask'>,
  grid: Grid,
  exact: Exactness,
  globals: number,
): Tensor | null {
  const { chunk, rows, columns, offsets } = layout;
  const area = chunk * chunk;
  const queries = exact === 1 ? area : 1;
  const keys = globals + offsets.length * area;
  const mask = new Float32Array(rows * columns * queries * keys);
  let masked = false;
  let at = 0;
  for (let top = 0; top < rows; top++)
    for (let left = 0; left < columns; left++)
      for (let query = 0; query < queries; query++) {
        at += globals;
        for (const [dy, dx] of offsets)
          for (let key = 0; key < area; key++, at++) {
            const y = (top + dy) * chunk + Math.floor(key / chunk);
            const x = (left + dx) * chunk + (key % chunk);
            // On a ring only the last chunk's filling is masked where it lies, not where it comes round.
            const hidden =
              exact === -1
                ? (y >= grid[0] && top + dy === rows - 1) || (x >= grid[1] && left + dx === columns - 1)
                : y < 0 || y >= grid[0] || x < 0 || x >= grid[1];
            const far =
              exact === 1 &&
              (Math.abs(y - (top * chunk + Math.floor(query / chunk))) > chunk ||
                Math.abs(x - (left * chunk + (query % chunk))) > chunk);
            if (hidden || far) {
              mask[at] = Number.NEGATIVE_INFINITY;
              masked = true;
            }
          }
      }
  return masked ? tensor(mask, { shape: [rows, columns, queries, keys] }) : null;
}

/** Layouts by size of the map, mode and device, made once each. */
export class ChunkLayouts {
  private readonly cache = new Map<string, ChunkLayout>();

  constructor(
    private readonly chunk: number,
    private readonly exact: Exactness,
    private readonly globals: number,
  ) {}

  for(grid: Grid, mode: number, device: string): ChunkLayout {
    const key = `${grid.join('x')}/${mode}@${device}`;
    let layout = this.cache.get(key);
    if (layout === undefined) {
      layout = scope(() => {
        const made = layoutOf(grid, this.chunk, mode, this.exact, this.globals);
        return { ...made, mask: made.mask?.to({ device }).keep() ?? null };
      });
      this.cache.set(key, layout);
    }
    return layout;
  }
}

/** x: [B, rows * columns, P, H, M] -> [P, B, H, chunk rows, chunk columns, chunk², M], filled up with zeros */
export function intoChunks(x: Tensor, grid: Grid, layout: ChunkLayout): Tensor {
  return scope(() => {
    const { chunk, rows, columns, bottom, right } = layout;
    const [batch, , parts, heads, width] = x.sizes(5);
    const map = x.reshape([batch, grid[0], grid[1], parts, heads, width]);
    const full = bottom + right === 0 ? map : map.constantPadNd([0, 0, 0, 0, 0, 0, 0, right, 0, bottom]);
    return full
      .view([batch, rows, chunk, columns, chunk, parts, heads, width])
      .permute([5, 0, 6, 1, 3, 2, 4, 7])
      .reshape([parts, batch, heads, rows, columns, chunk * chunk, width]);
  });
}

/** x: [B, H, chunk rows, chunk columns, chunk², M] -> [B, rows * columns, H * M], without the filling */
export function fromChunks(x: Tensor, grid: Grid, layout: ChunkLayout): Tensor {
  return scope(() => {
    const { chunk, rows, columns } = layout;
    const [batch, heads, , , , width] = x.sizes(6);
    return x
      .view([batch, heads, rows, columns, chunk, chunk, width])
      .permute([0, 2, 4, 3, 5, 1, 6])
      .reshape([batch, rows * chunk, columns * chunk, heads * width])
      .narrow(1, 0, grid[0])
      .narrow(2, 0, grid[1])
      .reshape([batch, grid[0] * grid[1], heads * width]);
  });
}

/** x: [..., chunk rows, chunk columns, chunk², M] (7 dimensions) -> the keys of each chunk: [..., keys, M] */
export function gatherNeighbours(x: Tensor, layout: ChunkLayout): Tensor {
  const { offsets } = layout;
  if (offsets.length === 1) return x;
  return scope(() =>
    cat(
      offsets.map(([dy, dx]) => (dy === 0 && dx === 0 ? x : x.roll([-dy, -dx], [3, 4]))),
      5,
    ),
  );
}
