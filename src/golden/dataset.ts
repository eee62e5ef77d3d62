/** Data sets in the layouts of the original: which samples come out, in which order, with which label. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { decode, type ImageSource, imageLayout, openImages } from '../data/index.js';
import { type Check, compareNumbers, failed, type GoldenCase, jsonOf, passed } from './case.js';

interface Sample {
  name: string;
  label: number;
  file_sha256: string;
  size: [width: number, height: number];
  rgb_sha256: string;
  rgb_mean: number[];
}

interface Expected {
  train?: Sample[];
  val?: Sample[];
  class_to_idx?: Record<string, number>;
}

const LAYOUTS: readonly string[] = ['folder', 'zip'];
const MEAN_TOLERANCE = 0.6;

export async function* runDataset(golden: GoldenCase, folder: string): AsyncGenerator<Check> {
  const layout = golden.name.split('/').at(-1) ?? '';
  const place = golden.files.find((file) => file.endsWith('/'));
  if (place === undefined) return yield failed('files', 'the case lists no folder');
  if (!LAYOUTS.includes(layout))
    return yield failed('layout', `data sets of the layout '${layout}' are not implemented`);
  const expected = jsonOf<Expected>(golden, folder, '.json');
  const path = join(folder, place);
  const { kind } = imageLayout(path);
  yield kind === layout ? passed('layout', kind) : failed('layout', `found a ${kind}, expected a ${layout}`);
  for (const split of ['train', 'val'] as const) {
    const samples = expected[split];
    if (samples === undefined) continue;
    const source = await openImages(path, { split });
    yield* compareSamples(split, source, samples);
    if (expected.class_to_idx) {
      const classes = Object.fromEntries(source.classes.map((name, number) => [name, number]));
      const same = JSON.stringify(classes) === JSON.stringify(expected.class_to_idx);
      yield same ? passed(`${split}.classes`) : failed(`${split}.classes`, JSON.stringify(classes));
    }
    source.close();
  }
}

async function* compareSamples(
  split: string,
  source: ImageSource,
  samples: readonly Sample[],
): AsyncGenerator<Check> {
  if (source.length !== samples.length)
    return yield failed(split, `${source.length} samples, expected ${samples.length}`);
  let equalPixels = 0;
  for (const [i, sample] of samples.entries()) {
    const name = `${split}.${i}`;
    if (source.key(i) !== sample.name) {
      yield failed(name, `${source.key(i)}, expected ${sample.name}`);
      continue;
    }
    if (source.label(i) !== sample.label)
      yield failed(name, `label ${source.label(i)}, expected ${sample.label}`);
    const bytes = await source.read(i);
    if (sha256(bytes) !== sample.file_sha256) yield failed(name, 'the encoded picture differs');
    const { data, width, height } = await decode(bytes);
    if (width !== sample.size[0] || height !== sample.size[1])
      yield failed(name, `${width}x${height} pixels, expected ${sample.size.join('x')}`);
    if (sha256(data) === sample.rgb_sha256) equalPixels++;
    yield compareNumbers(`${name}.rgb_mean`, means(data), sample.rgb_mean, MEAN_TOLERANCE, 0);
  }
  yield passed(
    `${split}.order`,
    `pixels of ${equalPixels} of ${samples.length} pictures are equal bit for bit`,
  );
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function means(pixels: Uint8Array): number[] {
  const sums = [0, 0, 0];
  for (let i = 0; i < pixels.length; i++) sums[i % 3] += pixels[i];
  return sums.map((sum) => sum / (pixels.length / 3));
}
