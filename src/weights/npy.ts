/** Arrays in numpy's `.npy` files: read whole or by rows, and written. */

import { dump, type DType as NpyDType, parse } from 'npyjs';
import { messageOf, UserError } from '../errors.js';
import { writeAtomic } from '../files.js';
import { bytesOf, type DType, fromBuffer, type Tensor } from '../torch/index.js';
import { RandomFile } from './archive.js';

const DTYPES: Readonly<Partial<Record<NpyDType, DType>>> = {
  f8: 'float64',
  f4: 'float32',
  f2: 'float16',
  i8: 'int64',
  i4: 'int32',
  i2: 'int16',
  i1: 'int8',
  u1: 'uint8',
  b1: 'bool',
};

const CODES = new Map(Object.entries(DTYPES).map(([code, dtype]) => [dtype, code as NpyDType]));

/** As long as a header may be: numpy itself stops at 10,000 bytes. */
const MOST_HEADER = 1 << 16;

/** An open `.npy` file whose rows can be read without reading the rest. */
export class NpyFile {
  readonly shape: readonly number[];
  readonly dtype: DType;
  private readonly file: RandomFile;
  private readonly start: number;

  constructor(readonly path: string) {
    this.file = new RandomFile(path);
    try {
      const head = this.file.read(0, Math.min(this.file.size, 12));
      const view = new DataView(head.buffer);
      if (head.byteLength < 12 || view.getUint8(0) !== 0x93) throw this.broken('it does not begin as .npy');
      const long = view.getUint8(6) > 1;
      this.start = long ? 12 + view.getUint32(8, true) : 10 + view.getUint16(8, true);
      if (this.start > MOST_HEADER) throw this.broken('its header is too long');
      // The header alone parses as an array without elements.
      const { shape, dtype, fortranOrder } = this.parsed(this.file.read(0, this.start));
      const known = DTYPES[dtype];
      if (known === undefined)
        throw new UserError(
          'data',
          `${path} holds elements of type ${dtype}; expected ${Object.keys(DTYPES).join(', ')}. Convert it with .astype().`,
        );
      if (fortranOrder && shape.length > 1)
        throw new UserError(
          'data',
          `${path} is stored column by column; save it again with np.ascontiguousarray.`,
        );
      this.shape = shape;
      this.dtype = known;
      const expected = this.start + shape.reduce((product, size) => product * size, bytesOf(known));
      if (!(expected === this.file.size))
        throw this.broken(`it has ${this.file.size} bytes, expected ${expected} for [${shape.join(', ')}]`);
    } catch (error) {
      this.file.close();
      throw error;
    }
  }

  private parsed(header: Uint8Array): ReturnType<typeof parse> {
    try {
      return parse(header.buffer as ArrayBuffer, { convertFloat16: false });
    } catch (error) {
      throw this.broken(messageOf(error));
    }
  }

  private broken(detail: string): UserError {
    return new UserError('data', `${this.path} is not a sound .npy file: ${detail}.`);
  }

  /** Rows `start`..`start + count` of the first dimension. -> [count, ...shape[1:]] */
  rows(start: number, count: number): Tensor {
    const inner = this.shape.slice(1);
    const bytes = inner.reduce((product, size) => product * size, bytesOf(this.dtype));
    const memory = new Uint8Array(new ArrayBuffer(count * bytes));
    this.file.readInto(memory, this.start + start * bytes);
    return fromBuffer(memory.buffer, { shape: [count, ...inner], dtype: this.dtype });
  }

  close(): void {
    this.file.close();
  }
}

/** The whole array of a `.npy` file. */
export function readNpy(path: string): Tensor {
  const file = new NpyFile(path);
  try {
    if (file.shape.length > 0) return file.rows(0, file.shape[0]);
    throw new UserError('data', `${path} holds a single number, expected an array.`);
  } finally {
    file.close();
  }
}

/** What stands before the elements of a `.npy` file of this shape. */
export function npyHeader(shape: readonly number[], dtype: DType): Uint8Array {
  const code = CODES.get(dtype);
  if (code === undefined) throw new TypeError(`.npy files do not hold ${dtype}`);
  return new Uint8Array(dump(new Uint8Array(0), [...shape], { dtype: code }));
}

/** Writes `value` (any device, any strides) for `numpy.load`. */
export function writeNpy(path: string, value: Tensor): void {
  writeAtomic(path, (append) => {
    append(npyHeader(value.shape, value.dtype));
    append(value.detach().to({ device: 'cpu' }).bytes());
  });
}
