/** Decoded pixels of a small data set, in memory that all threads share: later epochs decode nothing. */

import { decode } from './decode.js';
import type { Picture } from './native-image.js';
import { PURPOSE, RandomStream } from './random.js';
import type { ImageSource } from './source.js';

/** Pixels start at multiples of this, so that places fit an int32. */
const UNIT = 64;
const PROBES = 24;
const STATE = 0;
const PLACE = 1;
const WIDTH = 2;
const HEIGHT = 3;
const FIELDS = 4;

export interface SharedCache {
  arena: SharedArrayBuffer;
  /** [n, 4] state (1 = there), place, width, height */
  table: SharedArrayBuffer;
  /** [1] first free place */
  cursor: SharedArrayBuffer;
}

export class PixelCache {
  private readonly arena: Uint8Array;
  private readonly table: Int32Array;
  private readonly cursor: Int32Array;

  constructor(readonly shared: SharedCache) {
    this.arena = new Uint8Array(shared.arena);
    this.table = new Int32Array(shared.table);
    this.cursor = new Int32Array(shared.cursor);
  }

  static allocate(images: number, bytes: number): PixelCache {
    return new PixelCache({
      arena: new SharedArrayBuffer(Math.ceil(bytes / UNIT) * UNIT),
      table: new SharedArrayBuffer(images * FIELDS * 4),
      cursor: new SharedArrayBuffer(4),
    });
  }

  /** bytes of pixels held */
  get used(): number {
    return Math.min(Atomics.load(this.cursor, 0) * UNIT, this.arena.length);
  }

  get(index: number): Picture | undefined {
    const at = index * FIELDS;
    if (Atomics.load(this.table, at + STATE) === 0) return undefined;
    const start = this.table[at + PLACE] * UNIT;
    const width = this.table[at + WIDTH];
    const height = this.table[at + HEIGHT];
    return { data: this.arena.subarray(start, start + width * height * 3), width, height };
  }

  /** Keeps a copy if there is room. Two threads may put the same picture: both copies are right. */
  put(index: number, picture: Picture): void {
    const units = Math.ceil(picture.data.length / UNIT);
    if ((Atomics.load(this.cursor, 0) + units) * UNIT > this.arena.length) return;
    const place = Atomics.add(this.cursor, 0, units);
    if ((place + units) * UNIT > this.arena.length) return;
    this.arena.set(picture.data, place * UNIT);
    const at = index * FIELDS;
    this.table[at + PLACE] = place;
    this.table[at + WIDTH] = picture.width;
    this.table[at + HEIGHT] = picture.height;
    Atomics.store(this.table, at + STATE, 1);
  }
}

/** The default of `limit`: 1 GB. */
export const CACHE_LIMIT = 1e9;

/** A cache for `source` if a sample of its pictures says that all of them fit into `limit` bytes. */
export async function cacheFor(source: ImageSource, limit = CACHE_LIMIT): Promise<PixelCache | undefined> {
  if (limit <= 0 || source.length === 0) return undefined;
  const random = new RandomStream().key(0, 0, source.length, PURPOSE.probe);
  let sum = 0;
  let largest = 0;
  let probes = 0;
  for (let probe = 0; probe < Math.min(PROBES, source.length); probe++) {
    const index = source.length <= PROBES ? probe : random.integer(source.length);
    const picture = await Promise.resolve()
      .then(async () => decode(await source.read(index)))
      .catch(() => undefined);
    if (picture === undefined) continue;
    const bytes = Math.ceil(picture.data.length / UNIT) * UNIT;
    sum += bytes;
    largest = Math.max(largest, bytes);
    probes++;
    if ((sum / probes) * source.length > limit * 4) return undefined; // clearly too much: save the other probes
  }
  if (probes === 0) return undefined;
  const mean = sum / probes;
  const expected = mean === largest ? mean * source.length : mean * source.length * 1.25;
  const bytes = expected + 2 * largest;
  return bytes <= limit ? PixelCache.allocate(source.length, bytes) : undefined;
}
