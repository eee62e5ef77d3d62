/** Encoded pictures made smaller, or brought into a format that every reader of an archive takes. */

import sharp from 'sharp';
import { decode } from '../decode.js';
import { sniff } from '../sniff.js';

export interface ShrinkOptions {
  /** the longer side has at most so many pixels afterwards */
  maxSide?: number;
  /** of JPEGs that are written anew */
  quality: number;
}

export interface Encoded {
  bytes: Uint8Array;
  /** with its dot */
  extension: '.jpg' | '.png' | '.bmp' | '.tiff' | undefined;
  /** whether the bytes are others than before */
  isChanged: boolean;
}

/**
 * JPEGs stay JPEGs; all else that has to be written anew becomes a PNG, without loss. A picture that is small enough
 * keeps its bytes. Throws an Error with the reason for what has to be decoded and cannot be.
 */
export async function shrink(bytes: Uint8Array, { maxSide, quality }: ShrinkOptions): Promise<Encoded> {
  const { width, height } = sniff(bytes);
  const extension = extensionOf(bytes);
  const isSmall = maxSide === undefined || (width > 0 && Math.max(width, height) <= maxSide);
  if (isSmall && extension !== undefined) return { bytes, extension, isChanged: false };
  const picture = await decode(bytes);
  const isFitting = maxSide === undefined || Math.max(picture.width, picture.height) <= maxSide;
  if (isFitting && extension !== undefined) return { bytes, extension, isChanged: false };
  let image = sharp(picture.data, { raw: { width: picture.width, height: picture.height, channels: 3 } });
  if (!isFitting) image = image.resize({ width: maxSide, height: maxSide, fit: 'inside' });
  if (extension === '.jpg')
    return {
      bytes: await image.jpeg({ quality, chromaSubsampling: '4:4:4' }).toBuffer(),
      extension,
      isChanged: true,
    };
  return { bytes: await image.png().toBuffer(), extension: '.png', isChanged: true };
}

/** What the bytes are; undefined for formats that the original does not look for in archives. */
export function extensionOf(bytes: Uint8Array): Encoded['extension'] {
  const { format } = sniff(bytes);
  if (format === 'jpeg') return '.jpg';
  if (format === 'png') return '.png';
  if (format === 'bmp') return '.bmp';
  const isTiff =
    bytes.length > 4 &&
    ((bytes[0] === 0x49 && bytes[1] === 0x49 && bytes[2] === 42 && bytes[3] === 0) ||
      (bytes[0] === 0x4d && bytes[1] === 0x4d && bytes[2] === 0 && bytes[3] === 42));
  return isTiff ? '.tiff' : undefined;
}
