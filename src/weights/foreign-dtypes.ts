/** Element types that files may hold and libtorch 1.13 lacks: each becomes the next type that holds every value. */

import { UserError } from '../errors.js';
import { type DType, fromBuffer, type Tensor } from '../torch/index.js';

export type ForeignDType =
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'complex32'
  | 'float8_e4m3fn'
  | 'float8_e5m2'
  | 'float8_e4m3fnuz'
  | 'float8_e5m2fnuz'
  | 'float8_e8m0fnu';

interface Foreign {
  /** of one element in the file */
  readonly bytes: number;
  /** what the elements become */
  readonly wide: DType;
}

const FOREIGN: Readonly<Record<ForeignDType, Foreign>> = {
  uint16: { bytes: 2, wide: 'int32' },
  uint32: { bytes: 4, wide: 'int64' },
  uint64: { bytes: 8, wide: 'int64' },
  complex32: { bytes: 4, wide: 'complex64' },
  float8_e4m3fn: { bytes: 1, wide: 'float32' },
  float8_e5m2: { bytes: 1, wide: 'float32' },
  float8_e4m3fnuz: { bytes: 1, wide: 'float32' },
  float8_e5m2fnuz: { bytes: 1, wide: 'float32' },
  float8_e8m0fnu: { bytes: 1, wide: 'float32' },
};

export const foreignDTypes = Object.keys(FOREIGN) as readonly ForeignDType[];

/** What a foreign type is; undefined for one that libtorch has. */
export function foreign(dtype: string): Foreign | undefined {
  return Object.hasOwn(FOREIGN, dtype) ? FOREIGN[dtype as ForeignDType] : undefined;
}

/** `memory`, elements of a foreign type, as one row of the wider type. */
export function widen(dtype: ForeignDType, memory: ArrayBuffer, source: string): Tensor {
  switch (dtype) {
    case 'uint16':
      return row(Int32Array.from(new Uint16Array(memory)).buffer, 'int32');
    case 'uint32': {
      const narrow = new Uint32Array(memory);
      return row(BigInt64Array.from(narrow, BigInt).buffer, 'int64');
    }
    case 'uint64': {
      const whole = new BigInt64Array(memory);
      if (whole.some((value) => value < 0n))
        throw new UserError(
          'checkpoint',
          `${source} holds unsigned 64-bit numbers of 2^63 and more, which no type of libtorch holds.`,
        );
      return row(memory, 'int64');
    }
    case 'complex32': {
      using halves = row(memory, 'float16');
      return row(halves.toFloat32().buffer as ArrayBuffer, 'complex64');
    }
    default: {
      const table = FLOATS[dtype]();
      return row(Float32Array.from(new Uint8Array(memory), (code) => table[code]).buffer, 'float32');
    }
  }
}

function row(memory: ArrayBuffer, dtype: DType): Tensor {
  const width = { int32: 4, int64: 8, complex64: 8, float16: 2, float32: 4 }[dtype as string] as number;
  return fromBuffer(memory, { shape: [memory.byteLength / width], dtype });
}

/** The values of all 256 codes of an 8-bit float, by "FP8 Formats for Deep Learning" (arXiv 2209.05433). */
const FLOATS = {
  float8_e4m3fn: () => floats(4, 3, 7, (code) => ((code & 0x7f) === 0x7f ? Number.NaN : undefined)),
  float8_e5m2: () =>
    floats(5, 2, 15, (code) => {
      if ((code & 0x7c) !== 0x7c) return undefined;
      if ((code & 3) !== 0) return Number.NaN;
      return code < 0x80 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    }),
  // "fnuz": one NaN where minus zero would be, and a bias of one more
  float8_e4m3fnuz: () => floats(4, 3, 8, (code) => (code === 0x80 ? Number.NaN : undefined)),
  float8_e5m2fnuz: () => floats(5, 2, 16, (code) => (code === 0x80 ? Number.NaN : undefined)),
  // an exponent and nothing else
  float8_e8m0fnu: () =>
    Float32Array.from({ length: 256 }, (_, code) => (code === 255 ? Number.NaN : 2 ** (code - 127))),
};

function floats(
  exponentBits: number,
  mantissaBits: number,
  bias: number,
  special: (code: number) => number | undefined,
): Float32Array {
  return Float32Array.from({ length: 256 }, (_, code) => {
    const known = special(code);
    if (known !== undefined) return known;
    const sign = code < 0x80 ? 1 : -1;
    const exponent = (code >> mantissaBits) & ((1 << exponentBits) - 1);
    const mantissa = (code & ((1 << mantissaBits) - 1)) / 2 ** mantissaBits;
    return exponent === 0
      ? sign * mantissa * 2 ** (1 - bias)
      : sign * (1 + mantissa) * 2 ** (exponent - bias);
  });
}
