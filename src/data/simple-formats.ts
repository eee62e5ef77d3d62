/** Uncompressed BMP and binary PNM, which the decoder library lacks and old data sets have. */

import type { Picture } from './native-image.js';

/** Throws an Error with the reason where the file is broken or of a rare kind. */
export function decodeBmp(bytes: Uint8Array, maxPixels: number): Picture {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 54) throw new Error('truncated BMP header');
  const dataOffset = view.getUint32(10, true);
  const headerSize = view.getUint32(14, true);
  const width = view.getInt32(18, true);
  const signedHeight = view.getInt32(22, true);
  const height = Math.abs(signedHeight);
  const depth = view.getUint16(28, true);
  const compression = view.getUint32(30, true);
  checkSize(width, height, maxPixels);
  const plain = compression === 0 || (compression === 3 && depth === 32);
  if (headerSize < 40 || !plain || ![1, 4, 8, 24, 32].includes(depth))
    throw new Error(`BMP with ${depth} bits and compression ${compression} is not supported`);
  const rowBytes = Math.ceil((width * depth) / 32) * 4;
  if (dataOffset + rowBytes * height > bytes.length) throw new Error('truncated BMP');
  const colours = view.getUint32(46, true) || 2 ** Math.min(depth, 8);
  const palette = 14 + headerSize;
  if (depth <= 8 && palette + colours * 4 > bytes.length) throw new Error('truncated BMP palette');
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const row = dataOffset + rowBytes * (signedHeight > 0 ? height - 1 - y : y);
    for (let x = 0; x < width; x++) {
      let at: number;
      if (depth >= 24) at = row + (x * depth) / 8;
      else {
        const bit = x * depth;
        const index = (bytes[row + (bit >> 3)] >> (8 - depth - (bit & 7))) & (2 ** depth - 1);
        if (index >= colours) throw new Error('BMP pixel outside its palette');
        at = palette + index * 4;
      }
      const to = (y * width + x) * 3;
      data[to] = bytes[at + 2];
      data[to + 1] = bytes[at + 1];
      data[to + 2] = bytes[at];
    }
  }
  return { data, width, height };
}

/** P5 (grey) and P6 (RGB) with 8 bits. */
export function decodePnm(bytes: Uint8Array, maxPixels: number): Picture {
  const channels = bytes[1] === 0x36 ? 3 : 1;
  const numbers: number[] = [];
  let at = 2;
  while (numbers.length < 3) {
    while (at < bytes.length && (bytes[at] <= 0x20 || bytes[at] === 0x23)) {
      if (bytes[at] === 0x23) while (at < bytes.length && bytes[at] !== 0x0a) at++;
      else at++;
    }
    let number = 0;
    const start = at;
    for (; bytes[at] >= 0x30 && bytes[at] <= 0x39; at++) number = number * 10 + bytes[at] - 0x30;
    if (at === start) throw new Error('broken PNM header');
    numbers.push(number);
  }
  const [width, height, maximum] = numbers;
  checkSize(width, height, maxPixels);
  if (maximum !== 255) throw new Error(`PNM with a maximum of ${maximum} is not supported`);
  at++; // one separator
  const pixels = width * height;
  if (at + pixels * channels > bytes.length) throw new Error('truncated PNM');
  const data = new Uint8Array(pixels * 3);
  if (channels === 3) data.set(bytes.subarray(at, at + pixels * 3));
  else for (let i = 0; i < pixels; i++) data.fill(bytes[at + i], i * 3, i * 3 + 3);
  return { data, width, height };
}

function checkSize(width: number, height: number, maxPixels: number): void {
  if (!(width > 0 && height > 0)) throw new Error(`a picture of ${width}x${height} pixels`);
  if (width * height > maxPixels) throw new Error(tooLarge(width, height, maxPixels));
}

export function tooLarge(width: number, height: number, maxPixels: number): string {
  return `${width}x${height} pixels, more than the ${maxPixels} that are allowed`;
}
