/** The bytes of a pickle, taken piece by piece and never beyond their end. */

export class PickleBytes {
  readonly view: DataView;

  constructor(
    private readonly bytes: Uint8Array,
    /** where the next piece begins */
    public at: number,
    private readonly errors: { broken(what: string): Error; ended(what: string): Error },
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Where the next `count` bytes begin; they are passed over. */
  skip(count: number): number {
    const start = this.at;
    if (count < 0) throw this.errors.broken('a negative length');
    if (start + count > this.bytes.byteLength) throw this.errors.ended('its end too early');
    this.at = start + count;
    return start;
  }

  take(count: number): Uint8Array {
    const start = this.skip(count);
    return this.bytes.subarray(start, start + count);
  }

  /** An 8-byte length that lies within the file. */
  length64(): number {
    const length = this.view.getBigUint64(this.skip(8), true);
    if (length > BigInt(this.bytes.byteLength)) throw this.errors.ended('a length beyond its end');
    return Number(length);
  }

  /** Text up to the end of the line. */
  line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) throw this.errors.ended('a line without an end');
    const line = text(this.bytes.subarray(this.at, end));
    this.at = end + 1;
    return line;
  }
}

const decoder = new TextDecoder('utf-8');

export function text(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

export function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Little-endian two's complement of any length. */
export function wholeNumber(bytes: Uint8Array): number | bigint {
  if (bytes.length === 0) return 0;
  let hex = '';
  for (let i = bytes.length - 1; i >= 0; i--) hex += bytes[i].toString(16).padStart(2, '0');
  return narrow(BigInt.asIntN(bytes.length * 8, BigInt(`0x${hex}`)));
}
