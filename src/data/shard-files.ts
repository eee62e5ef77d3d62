/** The files that pictures lie in at known places: opened when first read, at most a few at a time. */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Files that one thread keeps open. */
const MOST_OPEN = 64;

export class ShardFiles {
  /** by number, in the order of their last use */
  private readonly open = new Map<number, number>();

  constructor(private readonly paths: readonly string[]) {}

  /** Up to `length` bytes from `offset` on; fewer at the end of the file. */
  readAt(shard: number, offset: number, length: number): Buffer {
    const file = this.file(shard);
    const bytes = Buffer.allocUnsafe(length);
    let read = 0;
    while (read < length) {
      const n = readSync(file, bytes, read, length - read, offset + read);
      if (n === 0) break;
      read += n;
    }
    return bytes.subarray(0, read);
  }

  /** bytes of a file */
  size(shard: number): number {
    return fstatSync(this.file(shard)).size;
  }

  close(): void {
    for (const file of this.open.values()) closeSync(file);
    this.open.clear();
  }

  private file(shard: number): number {
    const known = this.open.get(shard);
    if (known !== undefined) {
      if (this.open.size > 1) {
        this.open.delete(shard);
        this.open.set(shard, known);
      }
      return known;
    }
    const file = openSync(this.paths[shard], 'r');
    if (this.open.size >= MOST_OPEN) {
      const [[oldest, handle]] = this.open;
      closeSync(handle);
      this.open.delete(oldest);
    }
    this.open.set(shard, file);
    return file;
  }
}

/** The shard that entry `index` lies in; `starts` [shards+1] counts the entries before each. */
export function shardOf(starts: Float64Array, index: number): number {
  let low = 0;
  let high = starts.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= index) low = middle;
    else high = middle - 1;
  }
  return low;
}
