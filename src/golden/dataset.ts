/** Data sets in the layouts of the original: which samples come out, in which order, with which label. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { decode, type ImageSource, imageLayout, type LayoutKind, openImages } from '../data/index.js';
import { type Check, compareNumbers, failed, type GoldenCase, jsonOf, passed } from './case.js';

interface Sample {
  /** missing in rows of a TSV */
  name?: string;
  /** a list where pictures have several labels */
  label: number | number[];
  file_sha256: string;
  size: [width: number, height: number];
  rgb_sha256: string;
  rgb_mean: number[];
  /** length of the vector of labels: one more than there are labels */
  vector_length?: number;
}

/** Lists of samples by split, or by the sub-folder that is a data set of its own; and facts about the whole. */
interface Expected {
  [part: string]: Sample[] | unknown;
  class_to_idx?: Record<string, number>;
  keys?: string[];
  chunk_sizes?: number[];
  num_classes?: number;
}

/** The names of cases, where they say the layout. */
const LAYOUTS: Readonly<Record<string, LayoutKind>> = {
  folder: 'folder',
  zip: 'zip',
  tsv: 'tsv',
  in22k: 'imagenet22k',
  openimages: 'openimages_v4',
  webvision: 'webvision1',
};
const MEAN_TOLERANCE = 0.6;

export async function* runDataset(golden: GoldenCase, folder: string): AsyncGenerator<Check> {
  const place = golden.files.find((file) => file.endsWith('/'));
  if (place === undefined) return yield failed('files', 'the case lists no folder');
  const expected = jsonOf<Expected>(golden, folder, '.json');
  const path = join(folder, place);
  const { kind } = imageLayout(path);
  const layout = LAYOUTS[golden.name.split('/').at(-1) ?? ''] ?? kind;
  yield kind === layout ? passed('layout', kind) : failed('layout', `found a ${kind}, expected a ${layout}`);
  for (const [part, samples] of Object.entries(expected)) {
    if (!isSamples(samples)) continue;
    const isSplit = part === 'train' || part === 'val';
    const source = isSplit ? await openImages(path, { split: part }) : await openImages(join(path, part));
    try {
      yield* compareSamples(part, source, samples);
      if (isSplit) yield* compareFacts(part, source, expected);
    } finally {
      source.close();
    }
  }
}

function isSamples(value: unknown): value is Sample[] {
  return Array.isArray(value) && typeof (value as Partial<Sample>[])[0]?.file_sha256 === 'string';
}

function* compareFacts(split: string, source: ImageSource, expected: Expected): Generator<Check> {
  const same = (name: string, mine: unknown, golden: unknown) =>
    JSON.stringify(mine) === JSON.stringify(golden)
      ? passed(`${split}.${name}`)
      : failed(`${split}.${name}`, `${JSON.stringify(mine)}, expected ${JSON.stringify(golden)}`);
  if (expected.class_to_idx !== undefined)
    yield same(
      'classes',
      Object.fromEntries(source.classes.map((name, number) => [name, number])),
      expected.class_to_idx,
    );
  if (split !== 'train') return;
  if (expected.keys !== undefined) yield same('keys', [...keys(source)], expected.keys);
  if (expected.chunk_sizes !== undefined) yield same('chunks', source.chunks, expected.chunk_sizes);
  if (expected.num_classes !== undefined)
    yield same(
      'num_classes',
      source.classes.length + (source.labelKind === 'multiple' ? 1 : 0),
      expected.num_classes,
    );
}

function* keys(source: ImageSource): Generator<string> {
  for (let i = 0; i < source.length; i++) yield source.key(i);
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
    if (sample.name !== undefined && source.key(i) !== sample.name) {
      yield failed(name, `${source.key(i)}, expected ${sample.name}`);
      continue;
    }
    const label = Array.isArray(sample.label) ? source.labels(i) : source.label(i);
    if (JSON.stringify(label) !== JSON.stringify(sample.label))
      yield failed(name, `label ${JSON.stringify(label)}, expected ${JSON.stringify(sample.label)}`);
    if (sample.vector_length !== undefined && source.classes.length + 1 !== sample.vector_length)
      yield failed(name, `${source.classes.length} labels, expected a vector of ${sample.vector_length}`);
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
