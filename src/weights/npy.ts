/** Arrays in numpy's `.npy` files: read whole or by rows, and written. */

import { dump, type DType as NpyDType, parse } from 'npyjs';
import { messageOf, UserError } from '../errors.js';
import { writeAtomic } from '../files.js';
import { bytesOf, type DType, fromBuffer, noGrad, scope, type Tensor } from '../torch/index.js';
import { RandomFile } from './archive.js';
import { type ForeignDType, foreign, widen } from './foreign-dtypes.js';
import { elementsOf } from './pieces.js';
import { type StoredDType, storedBytes } from './storage.js';

const DTYPES: Readonly<Partial<Record<NpyDType, StoredDType>>> = {
  f8: 'float64',
  f4: 'float32',
  f2: 'float16',
  i8: 'int64',
  i4: 'int32',
  i2: 'int16',
  i1: 'int8',
  u1: 'uint8',
  b1: 'bool',
  c8: 'complex64',
  c16: 'complex128',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
};

const CODES = new Map(Object.entries(DTYPES).map(([code, dtype]) => [dtype, code as NpyDType]));

/** As long as a header may be: numpy itself stops at 10,000 bytes. */
const MOST_HEADER = 1 << 16;

/** What the head of an array says; `start` is where its elements begin. */
export interface NpyHead {
  shape: readonly number[];
  dtype: StoredDType;
  fortranOrder: boolean;
  start: number;
}

/**
 * Reads and checks the head of an array of `size` bytes; `read` gives so many of its first bytes.
 * `source` names it in messages.
 */
export function readNpyHead(source: string, size: number, read: (count: number) => Uint8Array): NpyHead {
  const broken = (detail: string) => new UserError('data', `${source} is not a sound .npy file: ${detail}.`);
  const head = read(Math.min(size, 12));
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.byteLength < 12 || view.getUint8(0) !== 0x93) throw broken('it does not begin as .npy');
  const long = view.getUint8(6) > 1;
  const start = long ? 12 + view.getUint32(8, true) : 10 + view.getUint16(8, true);
  if (start > MOST_HEADER) throw broken('its header is too long');
  if (start > size) throw broken('its header is longer than the file');
  let parsed: ReturnType<typeof parse>;
  try {
    // the header alone parses as an array without elements
    parsed = parse(Uint8Array.from(read(start)).buffer, { convertFloat16: false });
  } catch (error) {
    throw broken(messageOf(error));
  }
  const { shape, fortranOrder } = parsed;
  const dtype = DTYPES[parsed.dtype];
  if (dtype === undefined)
    throw new UserError(
      'data',
      `${source} holds elements of type ${parsed.dtype}; expected ${Object.keys(DTYPES).join(', ')}. Convert it with .astype().`,
    );
  const bytes = shape.reduce((product, count) => product * count, storedBytes(dtype));
  if (
    shape.length > 64 ||
    !shape.every((count) => Number.isSafeInteger(count) && count >= 0) ||
    !Number.isSafeInteger(shape.reduce((product, count) => product * Math.max(1, count), 16))
  )
    throw broken(`it has the impossible shape (${shape.join(', ')})`);
  if (start + bytes !== size)
    throw broken(`it has ${size} bytes, expected ${start + bytes} for [${shape.join(', ')}]`);
  return { shape, dtype, fortranOrder, start };
}

/** The array whose elements are `memory`, in row-major order whichever the file has. */
export function npyTensor(
  { shape, dtype, fortranOrder }: NpyHead,
  memory: ArrayBuffer,
  source: string,
): Tensor {
  const turned = fortranOrder && shape.length > 1;
  const stored = turned ? [...shape].reverse() : shape;
  const made = () => {
    const row =
      foreign(dtype) === undefined
        ? fromBuffer(memory, { shape: stored, dtype: dtype as DType })
        : widen(dtype as ForeignDType, memory, source).view(stored);
    if (!turned) return row;
    return noGrad(() => row.permute(shape.map((_, i) => shape.length - 1 - i)).contiguous());
  };
  return scope(made);
}

/** An open `.npy` file whose rows can be read without reading the rest. */
export class NpyFile {
  readonly shape: readonly number[];
  readonly dtype: DType;
  private readonly file: RandomFile;
  private readonly start: number;
  private memory = new ArrayBuffer(0);

  constructor(readonly path: string) {
    this.file = new RandomFile(path);
    try {
      const { shape, dtype, fortranOrder, start } = headOf(this.file);
      if (fortranOrder && shape.length > 1)
        throw new UserError(
          'data',
          `${path} is stored column by column; save it again with np.ascontiguousarray.`,
        );
      if (foreign(dtype) !== undefined)
        throw new UserError('data', `${path} holds ${dtype}; convert it with .astype() to a signed type.`);
      this.shape = shape;
      this.dtype = dtype as DType;
      this.start = start;
    } catch (error) {
      this.file.close();
      throw error;
    }
  }

  /**
   * Rows `start`..`start + count` of the first dimension. -> [count, ...shape[1:]], valid until rows are asked for
   * again: blocks that are left to the garbage collector would pile up.
   */
  rows(start: number, count: number): Tensor {
    const inner = this.shape.slice(1);
    const bytes = inner.reduce((product, size) => product * size, bytesOf(this.dtype));
    if (this.memory.byteLength < count * bytes) this.memory = new ArrayBuffer(count * bytes);
    this.file.readInto(new Uint8Array(this.memory, 0, count * bytes), this.start + start * bytes);
    return fromBuffer(this.memory, { shape: [count, ...inner], dtype: this.dtype });
  }

  close(): void {
    this.file.close();
  }
}

function headOf(file: RandomFile): NpyHead {
  return readNpyHead(file.path, file.size, (count) => file.read(0, count));
}

/** The whole array of a `.npy` file. */
export function readNpy(path: string): Tensor {
  const file = new RandomFile(path);
  try {
    const head = headOf(file);
    return npyTensor(head, file.readBuffer(head.start, file.size - head.start), path);
  } finally {
    file.close();
  }
}

/** What the head of a `.npy` file says, and its size. */
export function outlineNpy(path: string): NpyHead & { size: number } {
  const file = new RandomFile(path);
  try {
    return { ...headOf(file), size: file.size };
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
    for (const piece of elementsOf(value)) append(piece);
  });
}
