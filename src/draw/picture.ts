/** RGB pictures as plain bytes, and the simple things one does to them. */

import { internal } from '../errors.js';

/** `data` holds height × width × 3 bytes: rows from the top, red, green, blue. */
export interface Picture {
  width: number;
  height: number;
  data: Uint8Array;
}

export type Rgb = readonly [red: number, green: number, blue: number];

/** A picture of one colour, white unless told. */
export function blank(width: number, height: number, colour: Rgb = [255, 255, 255]): Picture {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) data[i] = colour[i % 3];
  return { width, height, data };
}

/** Throws where the bytes do not fit the size. */
export function checkPicture({ width, height, data }: Picture): void {
  if (!(Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0))
    throw internal(`a picture of ${width}x${height} pixels`);
  if (data.length !== width * height * 3)
    throw internal(`a ${width}x${height} picture needs ${width * height * 3} bytes and has ${data.length}`);
}

/**
 * Network input back to a picture: planar floats [3, height, width], normalised per channel, are scaled by
 * `std`, shifted by `mean` and cut to 0..255.
 */
export function fromPlanar(
  values: ArrayLike<number>,
  width: number,
  height: number,
  mean: Rgb,
  std: Rgb,
): Picture {
  const area = width * height;
  if (values.length !== area * 3)
    throw internal(`planar ${width}x${height} picture with ${values.length} values`);
  const data = new Uint8Array(area * 3);
  for (let channel = 0; channel < 3; channel++)
    for (let i = 0; i < area; i++) {
      const value = (values[channel * area + i] * std[channel] + mean[channel]) * 255;
      data[i * 3 + channel] = Math.max(0, Math.min(255, Math.round(value)));
    }
  return { width, height, data };
}

/** Every pixel becomes a block of `factor` × `factor`. */
export function enlarge(picture: Picture, factor: number): Picture {
  return resample(picture, picture.width * factor, picture.height * factor);
}

/** Nearest-neighbour resize: what a figure needs, not what a network should see. */
export function resample({ width, height, data }: Picture, toWidth: number, toHeight: number): Picture {
  const out = new Uint8Array(toWidth * toHeight * 3);
  for (let y = 0; y < toHeight; y++) {
    const row = Math.min(height - 1, Math.floor(((y + 0.5) * height) / toHeight)) * width;
    for (let x = 0; x < toWidth; x++) {
      const from = (row + Math.min(width - 1, Math.floor(((x + 0.5) * width) / toWidth))) * 3;
      const to = (y * toWidth + x) * 3;
      out[to] = data[from];
      out[to + 1] = data[from + 1];
      out[to + 2] = data[from + 2];
    }
  }
  return { width: toWidth, height: toHeight, data: out };
}

/** Copies `picture` into `target` with its corner at (x, y); what falls outside is left out. */
export function paste(target: Picture, picture: Picture, x: number, y: number): void {
  const left = Math.max(0, x);
  const right = Math.min(target.width, x + picture.width);
  if (right <= left) return;
  for (let row = Math.max(0, y); row < Math.min(target.height, y + picture.height); row++) {
    const from = ((row - y) * picture.width + left - x) * 3;
    target.data.set(picture.data.subarray(from, from + (right - left) * 3), (row * target.width + left) * 3);
  }
}
