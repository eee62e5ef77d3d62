/** Square windows over a map of tokens, and where a token lies relative to another in its window. */

import { scope, type Tensor, tensor } from '../../torch/index.js';

/** x: [B, H, W, C], H and W multiples of `size` -> [B * windows, size * size, C] */
export function partitionWindows(x: Tensor, size: number): Tensor {
  return scope(() => {
    const [batch, height, width, channels] = x.sizes(4);
    return x
      .view([batch, height / size, size, width / size, size, channels])
      .permute([0, 1, 3, 2, 4, 5])
      .reshape([-1, size * size, channels]);
  });
}

/** The way back: [B * windows, size * size, C] -> [B, height, width, C] */
export function mergeWindows(windows: Tensor, size: number, height: number, width: number): Tensor {
  return scope(() => {
    const channels = windows.shape[2];
    return windows
      .view([-1, height / size, width / size, size, size, channels])
      .permute([0, 1, 3, 2, 4, 5])
      .reshape([-1, height, width, channels]);
  });
}

/** x: [B, H, W, C] -> zeros added at the bottom and right, up to multiples of `size` */
export function padToMultiple(x: Tensor, size: number): Tensor {
  const [, height, width] = x.sizes(4);
  const [bottom, right] = [(size - (height % size)) % size, (size - (width % size)) % size];
  return bottom + right === 0 ? x : x.constantPadNd([0, 0, 0, right, 0, bottom]);
}

/**
 * For each pair (query, key) of a window of `size` the row of the bias table that belongs to their offset, in a
 * table made for windows of `tableSize`: (dy + tableSize-1) * (2 tableSize-1) + (dx + tableSize-1).
 * int64 [size*size, size*size]
 */
export function windowBiasIndex(size: number, tableSize: number): Tensor {
  const length = size * size;
  const index = new BigInt64Array(length * length);
  for (let query = 0; query < length; query++)
    for (let key = 0; key < length; key++) {
      const dy = Math.floor(query / size) - Math.floor(key / size) + tableSize - 1;
      const dx = (query % size) - (key % size) + tableSize - 1;
      index[query * length + key] = BigInt(dy * (2 * tableSize - 1) + dx);
    }
  return tensor(index, { shape: [length, length] });
}

/** The same where the table is the window's own. */
export function relativePositionIndex(size: number): Tensor {
  return windowBiasIndex(size, size);
}

/**
 * After a cyclic shift a window may hold pieces from opposite sides of the picture. Pairs from different pieces
 * get -100, others 0: [windows, size*size, size*size].
 */
export function shiftMask(height: number, width: number, size: number, shift: number): Tensor {
  const piece = (at: number, length: number) => (at < length - size ? 0 : at < length - shift ? 1 : 2);
  const [rows, columns, area] = [height / size, width / size, size * size];
  const mask = new Float32Array(rows * columns * area * area);
  const pieces = new Uint8Array(area);
  for (let window = 0; window < rows * columns; window++) {
    const [top, left] = [Math.floor(window / columns) * size, (window % columns) * size];
    for (let i = 0; i < area; i++)
      pieces[i] = 3 * piece(top + Math.floor(i / size), height) + piece(left + (i % size), width);
    for (let i = 0; i < area; i++)
      for (let j = 0; j < area; j++) if (pieces[i] !== pieces[j]) mask[(window * area + i) * area + j] = -100;
  }
  return tensor(mask, { shape: [rows * columns, area, area] });
}

/** Shift masks by map size and device, made once each. */
export class ShiftMasks {
  private readonly cache = new Map<string, Tensor>();

  constructor(
    private readonly size: number,
    private readonly shift: number,
  ) {}

  /** null where nothing is shifted; height and width are the padded map's. */
  for(height: number, width: number, device: string): Tensor | null {
    if (this.shift === 0) return null;
    const key = `${height}x${width}@${device}`;
    let mask = this.cache.get(key);
    if (mask === undefined) {
      mask = scope(() => shiftMask(height, width, this.size, this.shift).to({ device })).keep();
      this.cache.set(key, mask);
    }
    return mask;
  }
}
