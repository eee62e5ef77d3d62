/** Lists that grow to millions of entries in pieces and end in shared memory. */

import { PackedStrings } from './packed-strings.js';

/** Entries of a piece of numbers, bytes of a piece of text. */
const PIECE = 1 << 16;
const TEXT_PIECE = 1 << 20;

export type Numbers = Float64Array | Int32Array | Uint32Array | Uint8Array;

interface NumbersType<T extends Numbers> {
  new (length: number): T;
  new (memory: SharedArrayBuffer): T;
  readonly BYTES_PER_ELEMENT: number;
}

export class GrowingNumbers<T extends Numbers> {
  private pieces: T[] = [];
  private last: T;
  private used = 0;

  constructor(private readonly type: NumbersType<T>) {
    this.last = new type(PIECE);
  }

  get length(): number {
    return this.pieces.length * PIECE + this.used;
  }

  push(value: number): void {
    if (this.used === PIECE) {
      this.pieces.push(this.last);
      this.last = new this.type(PIECE);
      this.used = 0;
    }
    this.last[this.used++] = value;
  }

  at(index: number): number {
    const piece = Math.floor(index / PIECE);
    return (piece === this.pieces.length ? this.last : this.pieces[piece])[index % PIECE];
  }

  /** The list in shared memory; this one is empty afterwards, so that nothing is held twice for long. */
  finish(): T {
    const shared = new this.type(new SharedArrayBuffer(this.length * this.type.BYTES_PER_ELEMENT));
    this.pieces.forEach((piece, i) => {
      shared.set(piece, i * PIECE);
      this.pieces[i] = undefined as unknown as T;
    });
    shared.set(this.last.subarray(0, this.used), this.pieces.length * PIECE);
    this.pieces = [];
    this.used = 0;
    return shared;
  }
}

export class GrowingStrings {
  private pieces: Buffer[] = [];
  private last = Buffer.allocUnsafeSlow(TEXT_PIECE);
  private used = 0;
  private size = 0;
  private readonly ends = new GrowingNumbers(Float64Array);

  constructor() {
    this.ends.push(0);
  }

  get length(): number {
    return this.ends.length - 1;
  }

  push(text: string | Uint8Array): void {
    const bytes = typeof text === 'string' ? Buffer.byteLength(text) : text.length;
    if (this.used + bytes > this.last.length) {
      this.pieces.push(this.last.subarray(0, this.used));
      this.last = Buffer.allocUnsafeSlow(Math.max(TEXT_PIECE, bytes));
      this.used = 0;
    }
    if (typeof text === 'string') this.last.write(text, this.used);
    else this.last.set(text, this.used);
    this.used += bytes;
    this.size += bytes;
    this.ends.push(this.size);
  }

  /** The list in shared memory; this one is empty afterwards. */
  finish(): PackedStrings {
    const memory = new SharedArrayBuffer(this.size);
    const bytes = new Uint8Array(memory);
    this.pieces.push(this.last.subarray(0, this.used));
    let at = 0;
    this.pieces.forEach((piece, i) => {
      bytes.set(piece, at);
      at += piece.length;
      this.pieces[i] = undefined as unknown as Buffer;
    });
    const ends = this.ends.finish();
    this.pieces = [];
    this.last = Buffer.alloc(0);
    this.used = 0;
    this.size = 0;
    return new PackedStrings({ bytes: memory, ends });
  }
}
