/** Looks at every picture of a source: what can be read, how large it is, and what is there twice. */

import { createHash } from 'node:crypto';
import { messageOf } from '../errors.js';
import { CropLoader } from './crop-loader.js';
import type { CropPlan } from './crop-plan.js';
import { decode, MAX_PIXELS } from './decode.js';
import type { ImageSource } from './source.js';

export interface CheckOptions {
  /** look at so many pictures only, evenly spread */
  sample?: number;
  /** pictures in work at a time */
  ahead?: number;
  onProgress?: (done: number, unreadable: number) => void;
}

export interface CheckReport {
  /** pictures of the source, and those looked at */
  images: number;
  checked: number;
  unreadable: { key: string; reason: string }[];
  /** keys of pictures with the same bytes, in groups of two and more */
  duplicates: string[][];
  /** pictures by the length of their shorter side */
  sides: { from: number; to: number; count: number }[];
  smallest: number;
  largest: number;
  /** mean bytes of an encoded picture */
  meanBytes: number;
  /** pictures of each class among those looked at */
  perClass: { least: number; most: number; empty: number } | undefined;
}

/** Shorter sides at which a bar of the histogram begins. */
const BARS: readonly number[] = [1, 32, 64, 128, 224, 256, 384, 512, 1024, 2048];

/** Pictures whose bytes are compared by the first 64 bits of a hash, and by all of it where those agree. */
export async function checkImages(source: ImageSource, options: CheckOptions = {}): Promise<CheckReport> {
  const count = Math.min(source.length, options.sample ?? source.length);
  const counts = BARS.map(() => 0);
  const unreadable: CheckReport['unreadable'] = [];
  const hashes = new Float64Array(count).fill(Number.NaN);
  const classes = new Uint32Array(source.labelKind === 'single' ? source.classes.length : 0);
  const places = (i: number) =>
    count === source.length ? i : Math.floor(((i + 0.5) * source.length) / count);
  let smallest = Number.POSITIVE_INFINITY;
  let largest = 0;
  let bytes = 0;
  let next = 0;
  let done = 0;
  const work = async () => {
    while (next < count) {
      const i = next++;
      const index = places(i);
      try {
        const encoded = await source.read(index);
        hashes[i] = firstBits(digest(encoded));
        const { width, height } = await decode(encoded, MAX_PIXELS);
        const side = Math.min(width, height);
        counts[BARS.findLastIndex((from) => side >= from)]++;
        smallest = Math.min(smallest, side);
        largest = Math.max(largest, width, height);
        bytes += encoded.length;
        const label = source.label(index);
        if (label >= 0 && label < classes.length) classes[label]++;
      } catch (error) {
        unreadable.push({ key: source.key(index), reason: messageOf(error).split('\n')[0] });
      }
      options.onProgress?.(++done, unreadable.length);
    }
  };
  await Promise.all(Array.from({ length: options.ahead ?? 8 }, work));
  const good = count - unreadable.length;
  unreadable.sort((a, b) => (a.key < b.key ? -1 : 1));
  return {
    images: source.length,
    checked: count,
    unreadable,
    duplicates: await duplicates(source, hashes, places),
    sides: BARS.map((from, i) => ({
      from,
      to: (BARS[i + 1] ?? Number.POSITIVE_INFINITY) - 1,
      count: counts[i],
    })).filter((bar) => bar.count > 0),
    smallest: good > 0 ? smallest : 0,
    largest,
    meanBytes: good > 0 ? bytes / good : 0,
    perClass:
      classes.length === 0
        ? undefined
        : {
            least: classes.reduce((a, b) => Math.min(a, b)),
            most: classes.reduce((a, b) => Math.max(a, b)),
            empty: classes.reduce((sum, n) => sum + (n === 0 ? 1 : 0), 0),
          },
  };
}

function digest(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** 53 bits, which a number holds exactly. */
function firstBits(hash: Buffer): number {
  return hash.readUIntBE(0, 6) * 32 + (hash[6] & 31);
}

async function duplicates(
  source: ImageSource,
  hashes: Float64Array,
  places: (i: number) => number,
): Promise<string[][]> {
  const order = Uint32Array.from(hashes, (_, i) => i).filter((i) => !Number.isNaN(hashes[i]));
  order.sort((a, b) => hashes[a] - hashes[b] || a - b);
  const groups: string[][] = [];
  for (let from = 0; from < order.length; ) {
    let to = from + 1;
    while (to < order.length && hashes[order[to]] === hashes[order[from]]) to++;
    if (to - from > 1) groups.push(...(await sameBytes(source, order.subarray(from, to).map(places))));
    from = to;
  }
  return groups.sort((a, b) => (a[0] < b[0] ? -1 : 1));
}

async function sameBytes(source: ImageSource, indices: Uint32Array): Promise<string[][]> {
  const byHash = new Map<string, string[]>();
  for (const index of indices) {
    const hash = await Promise.resolve(source.read(index)).then(
      (bytes) => digest(bytes).toString('hex'),
      () => undefined, // it has vanished since
    );
    if (hash === undefined) continue;
    byHash.set(hash, [...(byHash.get(hash) ?? []), source.key(index)]);
  }
  return [...byHash.values()].filter((keys) => keys.length > 1);
}

export interface LoadingSpeed {
  imagesPerSecond: number;
  images: number;
  seconds: number;
}

/** Pictures a second that `workers` threads turn into crops, measured for about `seconds`. */
export async function measureLoading(
  source: ImageSource,
  plan: CropPlan,
  options: { workers: number; seconds: number },
): Promise<LoadingSpeed> {
  const batchSize = Math.min(16, source.length);
  const loader = new CropLoader({
    source,
    plan,
    seed: 0,
    batchSize,
    workers: options.workers,
    photometric: 'workers',
    maxBadFraction: 1,
  });
  let images = 0;
  let started = 0;
  try {
    for (let epoch = 0; ; epoch++)
      for await (const { indices } of loader.batches(epoch)) {
        const now = performance.now();
        // The threads start and the first batches are filled before time is taken.
        if (started === 0) started = now;
        else images += indices.length;
        const seconds = (now - started) / 1000;
        if (seconds >= options.seconds && images > 0)
          return { imagesPerSecond: images / seconds, images, seconds };
      }
  } finally {
    await loader.close();
  }
}
