/** Encoded bytes to RGB pixels, as Pillow's `convert('RGB')` gives them. */

import sharp, { type SharpOptions } from 'sharp';
import type { Picture } from './native-image.js';
import { decodeBmp, decodePnm, tooLarge } from './simple-formats.js';
import { sniff } from './sniff.js';

// Parallelism is over pictures; libvips would start threads of its own for each.
sharp.concurrency(1);
sharp.cache(false);

/** The number of pixels at which Pillow calls a picture a decompression bomb. */
export const MAX_PIXELS = 178_956_970;

/** Above this, the picture is decoded in strips instead of whole. */
const WHOLE_PIXELS = 30_000_000;

/**
 * Grey and palette become RGB, alpha is dropped, colour profiles and EXIF rotation are ignored, CMYK is
 * converted without a profile, 16-bit grey is cut at 255 (as in Pillow), 16-bit RGB loses its low byte.
 * Throws an Error with the reason for what is truncated, corrupt, of unknown format or too large.
 */
export async function decode(bytes: Uint8Array, maxPixels = MAX_PIXELS): Promise<Picture> {
  if (bytes.length === 0) throw new Error('the file is empty');
  const { format, width, height, channels, depth } = sniff(bytes);
  if (format === 'bmp') return decodeBmp(bytes, maxPixels);
  if (format === 'pnm') return decodePnm(bytes, maxPixels);
  if (width * height > maxPixels) throw new Error(tooLarge(width, height, maxPixels));
  const sequentialRead = width === 0 || width * height > WHOLE_PIXELS;
  const options = { ignoreIcc: true, failOn: 'error', limitInputPixels: maxPixels, sequentialRead } as const;
  if (format === 'jpeg' && channels === 4) return decodeCmyk(bytes, options);
  if (format === 'png' && channels === 1 && depth === 16) return decodeGrey16(bytes, options);
  if (format === 'other') {
    const meta = await sharp(bytes, options).metadata();
    if (meta.format === 'svg') throw new Error('SVG is not a picture format for training');
    if (meta.space === 'cmyk') return decodeCmyk(bytes, options);
    if (meta.space === 'grey16' && meta.channels === 1) return decodeGrey16(bytes, options);
  }
  const { data, info } = await sharp(bytes, options)
    .toColourspace('srgb')
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 3) throw new Error(`${info.channels} colour channels`);
  return { data, width: info.width, height: info.height };
}

async function decodeCmyk(bytes: Uint8Array, options: SharpOptions): Promise<Picture> {
  const { data, info } = await sharp(bytes, options)
    .pipelineColourspace('cmyk')
    .toColourspace('cmyk')
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 4) throw new Error(`${info.channels} channels where CMYK was expected`);
  const pixels = info.width * info.height;
  const out = new Uint8Array(pixels * 3);
  for (let i = 0; i < pixels; i++) {
    const light = 255 - data[i * 4 + 3];
    for (let c = 0; c < 3; c++) {
      const product = data[i * 4 + c] * light + 128;
      out[i * 3 + c] = Math.max(0, light - (((product >> 8) + product) >> 8));
    }
  }
  return { data: out, width: info.width, height: info.height };
}

async function decodeGrey16(bytes: Uint8Array, options: SharpOptions): Promise<Picture> {
  const { data, info } = await sharp(bytes, options)
    .toColourspace('grey16')
    .raw({ depth: 'ushort' })
    .toBuffer({ resolveWithObject: true });
  const pixels = info.width * info.height;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const out = new Uint8Array(pixels * 3);
  for (let i = 0; i < pixels; i++) {
    const value = Math.min(255, view.getUint16(i * info.channels * 2, true));
    out.fill(value, i * 3, i * 3 + 3);
  }
  return { data: out, width: info.width, height: info.height };
}
