/** A long list of strings in shared memory: a million paths cost their bytes, and all threads share them. */

/** What a worker needs to look into the same list. */
export interface SharedStrings {
  bytes: SharedArrayBuffer;
  /** [n+1] where each string begins */
  ends: Float64Array;
}

export class PackedStrings {
  private readonly bytes: Uint8Array;
  private readonly ends: Float64Array;

  constructor(readonly shared: SharedStrings) {
    this.bytes = new Uint8Array(shared.bytes);
    this.ends = shared.ends;
  }

  get length(): number {
    return this.ends.length - 1;
  }

  at(i: number): string {
    return Buffer.from(this.bytesAt(i)).toString();
  }

  /** The UTF-8 bytes of string i, where they lie. */
  bytesAt(i: number): Uint8Array {
    return this.bytes.subarray(this.ends[i], this.ends[i + 1]);
  }
}

/** Sorts by code point, as Python does; JavaScript's own order differs where there are surrogates. */
export function sortByCodePoint(strings: string[]): string[] {
  if (!strings.some((text) => /[\ud800-\udfff]/.test(text))) return strings.sort();
  return strings.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}
