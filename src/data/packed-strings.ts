/** A long list of strings in shared memory: a million paths cost their bytes, and all threads share them. */

/** What a worker needs to look into the same list. */
export interface SharedStrings {
  bytes: SharedArrayBuffer;
  /** [n+1] where each string begins */
  ends: SharedArrayBuffer;
}

const encoder = new TextEncoder();

export class PackedStrings {
  private readonly bytes: Uint8Array;
  private readonly ends: Float64Array;

  constructor(readonly shared: SharedStrings) {
    this.bytes = new Uint8Array(shared.bytes);
    this.ends = new Float64Array(shared.ends);
  }

  static from(strings: readonly string[]): PackedStrings {
    let size = 0;
    for (const text of strings) size += Buffer.byteLength(text);
    const bytes = new Uint8Array(new SharedArrayBuffer(size));
    const ends = new Float64Array(new SharedArrayBuffer((strings.length + 1) * 8));
    strings.forEach((text, i) => {
      // encodeInto refuses shared memory.
      const encoded = encoder.encode(text);
      bytes.set(encoded, ends[i]);
      ends[i + 1] = ends[i] + encoded.length;
    });
    return new PackedStrings({
      bytes: bytes.buffer as SharedArrayBuffer,
      ends: ends.buffer as SharedArrayBuffer,
    });
  }

  get length(): number {
    return this.ends.length - 1;
  }

  at(i: number): string {
    return Buffer.from(this.bytes.subarray(this.ends[i], this.ends[i + 1])).toString();
  }
}

/** A copy of `values` in shared memory. */
export function sharedInt32(values: ArrayLike<number>): Int32Array {
  const shared = new Int32Array(new SharedArrayBuffer(values.length * 4));
  shared.set(values);
  return shared;
}

/** A copy of `values` in shared memory. */
export function sharedFloat64(values: ArrayLike<number>): Float64Array {
  const shared = new Float64Array(new SharedArrayBuffer(values.length * 8));
  shared.set(values);
  return shared;
}

/** Sorts by code point, as Python does; JavaScript's own order differs where there are surrogates. */
export function sortByCodePoint(strings: string[]): string[] {
  if (!strings.some((text) => /[\ud800-\udfff]/.test(text))) return strings.sort();
  return strings.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}
