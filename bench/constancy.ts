/** Are crops the same for any number of workers, and does memory stay flat over 50,000 pictures? */

import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { CropLoader, dinoPlan, type ImageSource, openImages } from '../src/data/index.js';
import { AtomicFile } from '../src/files.js';
import { setThreads } from '../src/torch/index.js';
import { table } from './peer.js';

const argument = (name: string) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};
const COUNT = Number(argument('count') ?? 10_000);
const EPOCHS = Number(argument('epochs') ?? 5);
const plan = dinoPlan({ globalSize: 48, localSizes: [24], localCounts: [2] });

/** A TSV of JPEGs, each of another colour and size. */
async function pictures(folder: string): Promise<ImageSource> {
  const tsv = new AtomicFile(join(folder, 'train.tsv'));
  for (let i = 0; i < COUNT; i++) {
    const create = {
      width: 48 + (i % 37),
      height: 48 + (i % 23),
      channels: 3 as const,
      background: { r: i & 255, g: (i >> 4) & 255, b: (i * 7) & 255 },
      noise: { type: 'gaussian' as const, mean: 128, sigma: 40 },
    };
    const jpeg = await sharp({ create }).jpeg().toBuffer();
    tsv.append(Buffer.from(`picture${i}\t${i % 10}\t${jpeg.toString('base64')}\n`));
  }
  tsv.commit();
  return openImages(folder);
}

const loaderOf = (source: ImageSource, workers: number) =>
  new CropLoader({ source, plan, seed: 1, batchSize: 50, workers, photometric: 'workers' });

async function hashOf(source: ImageSource, workers: number): Promise<{ hash: string; images: number }> {
  const loader = loaderOf(source, workers);
  const hash = createHash('sha256');
  let images = 0;
  for await (const { indices, labels, groups } of loader.batches(0)) {
    hash.update(new Uint8Array(indices.slice().buffer)).update(new Uint8Array(labels.slice().buffer));
    for (const { crops } of groups) hash.update(crops.bytes());
    images += indices.length;
  }
  await loader.close();
  return { hash: hash.digest('hex'), images };
}

const megabytes = () => {
  globalThis.gc?.();
  return process.memoryUsage.rss() / 1e6;
};

setThreads(1);
const folder = mkdtempSync(join(tmpdir(), 'esvit-bench-'));
try {
  const source = await pictures(folder);
  const rows: string[][] = [['workers', 'pictures', 'SHA-256 of all crops, indices and labels']];
  const hashes = new Set<string>();
  for (const workers of [1, 2, 4]) {
    const { hash, images } = await hashOf(source, workers);
    hashes.add(hash);
    rows.push([String(workers), String(images), hash]);
  }
  console.log(table(rows));
  console.log(hashes.size === 1 ? '\nAll are equal bit for bit.\n' : '\nTHEY DIFFER.\n');
  if (hashes.size !== 1) process.exitCode = 1;

  const loader = loaderOf(source, 2);
  const memory: string[][] = [['pictures', 'resident MB']];
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    for await (const { groups } of loader.batches(epoch)) if (groups.length === 0) break;
    memory.push([String((epoch + 1) * COUNT), megabytes().toFixed(0)]);
  }
  await loader.close();
  console.log(table(memory));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
