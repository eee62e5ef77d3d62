/** Pictures and figures as PNG bytes and data URIs. */

import sharp from 'sharp';
import { checkPicture, type Picture } from './picture.js';
import type { Figure } from './svg.js';

export async function encodePng(picture: Picture): Promise<Buffer> {
  checkPicture(picture);
  const raw = { width: picture.width, height: picture.height, channels: 3 as const };
  return sharp(picture.data, { raw }).png({ compressionLevel: 9 }).toBuffer();
}

/** A picture as an `<img src>` that needs no file. */
export async function dataUri(picture: Picture): Promise<string> {
  return `data:image/png;base64,${(await encodePng(picture)).toString('base64')}`;
}

export interface PngOptions {
  /** Pixels of the PNG per CSS pixel of the figure. */
  scale?: number;
  background?: string;
}

/** A figure as PNG, on paper white unless told. */
export async function figurePng(
  figure: Figure,
  { scale = 2, background = '#ffffff' }: PngOptions = {},
): Promise<Buffer> {
  return sharp(Buffer.from(figure.svg), { density: 72 * scale, limitInputPixels: false })
    .flatten({ background })
    .png({ compressionLevel: 9 })
    .toBuffer();
}
