/** Small rendered pictures and data sets for the tests of the data room. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { afterAll } from 'vitest';
import { type Picture, RandomStream } from '../../src/data/index.js';

/** A smooth coloured picture with edges, drawn by formula. */
export function render(width: number, height: number, seed: number): Picture {
  const random = new RandomStream().key(seed, 0, 0, 99);
  const [a, b, c, d] = [0, 1, 2, 3].map(() => random.uniform(0.02, 0.2));
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3;
      data[at] = 128 + 127 * Math.sin(a * x + c * y);
      data[at + 1] = (Math.floor(x * b) + Math.floor(y * d)) % 2 ? 230 : 20;
      data[at + 2] = (x * 3 + y * 5 + seed * 17) & 255;
    }
  return { data, width, height };
}

export function encode(
  picture: Picture,
  format: 'jpeg' | 'png' | 'webp' | 'tiff' | 'gif' = 'png',
): Promise<Buffer> {
  const { data, width, height } = picture;
  return sharp(data, { raw: { width, height, channels: 3 } })
    .toFormat(format, format === 'jpeg' ? { quality: 92 } : {})
    .toBuffer();
}

const folders: string[] = [];

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A temporary folder that is removed after the test file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'esvit-data-'));
  folders.push(folder);
  return folder;
}

/** Writes files by their path below a new temporary folder. */
export function writeTree(files: Readonly<Record<string, Uint8Array | string>>): string {
  const root = temporaryFolder();
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

/** n PNG pictures of varying size in class folders. */
export async function writePictures(
  n: number,
  side = 24,
  extra: Readonly<Record<string, Uint8Array>> = {},
): Promise<string> {
  const files: Record<string, Uint8Array> = { ...extra };
  for (let i = 0; i < n; i++)
    files[`class${i % 3}/${String(i).padStart(4, '0')}.png`] = await encode(
      render(side + (i % 7), side + (i % 5), i),
    );
  return writeTree(files);
}
