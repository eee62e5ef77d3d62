/** Reads and writes safetensors files: a JSON header of names, dtypes, shapes and places, then the raw elements. */

import { z } from 'zod';
import { messageOf, UserError } from '../errors.js';
import { writeAtomic } from '../files.js';
import { bytesOf, type DType, fromBuffer, type Tensor } from '../torch/index.js';
import { RandomFile } from './archive.js';
import { type ForeignDType, foreign, widen } from './foreign-dtypes.js';
import { elementsOf } from './pieces.js';
import { type StoredDType, storedBytes, TensorOutline } from './storage.js';

const DTYPES: Readonly<Record<string, StoredDType>> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U8: 'uint8',
  BOOL: 'bool',
  C64: 'complex64',
  U64: 'uint64',
  U32: 'uint32',
  U16: 'uint16',
  F8_E4M3: 'float8_e4m3fn',
  F8_E5M2: 'float8_e5m2',
  F8_E8M0: 'float8_e8m0fnu',
};

const NAMES = new Map<string, string>(Object.entries(DTYPES).map(([name, dtype]) => [dtype, name]));

/** As the reference implementation: a longer header is a broken or hostile file. */
const MAX_HEADER = 100_000_000;

/** More than any tensor of PyTorch's functions can have. */
const MAX_DIMENSIONS = 64;

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const entrySchema = z.strictObject({
  dtype: z.string(),
  shape: z.array(count),
  data_offsets: z.tuple([count, count]),
});

export interface SafeTensors {
  tensors: Map<string, Tensor>;
  metadata: Record<string, string>;
}

interface Entry {
  name: string;
  dtype: StoredDType;
  shape: number[];
  /** bytes of the data, from its beginning */
  begin: number;
  end: number;
}

export function readSafetensors(path: string): SafeTensors {
  return withFile(path, (file, { entries, metadata, start }) => {
    const tensors = new Map<string, Tensor>();
    for (const { name, dtype, shape, begin, end } of entries) {
      const memory = file.readBuffer(start + begin, end - begin);
      if (foreign(dtype) === undefined)
        tensors.set(name, fromBuffer(memory, { shape, dtype: dtype as DType }));
      else {
        using row = widen(dtype as ForeignDType, memory, path);
        tensors.set(name, row.view(shape));
      }
    }
    return { tensors, metadata };
  });
}

export interface SafeTensorsOutline {
  /** of the file in bytes */
  size: number;
  tensors: Map<string, TensorOutline>;
  metadata: Record<string, string>;
}

/** What is in a file, without its weights: only the header is read. */
export function outlineSafetensors(path: string): SafeTensorsOutline {
  return withFile(path, (file, { entries, metadata }) => ({
    size: file.size,
    metadata,
    tensors: new Map(
      entries.map(({ name, dtype, shape, begin, end }) => [
        name,
        new TensorOutline(dtype, shape, rowMajor(shape), 0, { key: String(begin), bytes: end - begin }),
      ]),
    ),
  }));
}

function rowMajor(shape: readonly number[]): number[] {
  const strides: number[] = [];
  for (let i = shape.length - 1, step = 1; i >= 0; i--) {
    strides.unshift(step);
    step *= Math.max(1, shape[i]);
  }
  return strides;
}

/** Opens a file, checks all of its header, and hands both to `use`. */
function withFile<Result>(
  path: string,
  use: (
    file: RandomFile,
    header: { entries: Entry[]; metadata: Record<string, string>; start: number },
  ) => Result,
): Result {
  const file = new RandomFile(path);
  const broken = (detail: string) =>
    new UserError(
      'checkpoint',
      `${path} is not a sound safetensors file: ${detail}. Fetch or save it again.`,
    );
  try {
    if (file.size < 8) throw broken('it is shorter than its header');
    const prefix = file.read(0, 8);
    const length = new DataView(prefix.buffer).getBigUint64(0, true);
    if (length > BigInt(Math.min(MAX_HEADER, file.size - 8)))
      throw broken(`its header is said to have ${length} bytes, the file has ${file.size}`);
    const { entries, metadata } = parseHeader(file.read(8, Number(length)), broken);
    const start = 8 + Number(length);
    checkPlaces(entries, file.size - start, broken);
    return use(file, { entries, metadata, start });
  } finally {
    file.close();
  }
}

/** The data must be covered, byte by byte, once: no gap, no overlap, nothing after the last. */
function checkPlaces(entries: readonly Entry[], bytes: number, broken: (detail: string) => UserError): void {
  let expected = 0;
  for (const { name, dtype, shape, begin, end } of entries) {
    if (begin !== expected) throw broken(`'${name}' begins at byte ${begin}, expected ${expected}`);
    const width = storedBytes(dtype);
    if (
      shape.length > MAX_DIMENSIONS ||
      !Number.isSafeInteger(shape.reduce((product, dim) => product * Math.max(1, dim), width))
    )
      throw broken(`'${name}' has the impossible shape [${shape.join(', ')}]`);
    const size = shape.reduce((product, dim) => product * dim, width);
    if (end - begin !== size)
      throw broken(`'${name}' has ${end - begin} bytes, expected ${size} for ${dtype} [${shape.join(', ')}]`);
    expected = end;
  }
  if (expected !== bytes) throw broken(`it has ${bytes} bytes of data, expected ${expected}`);
}

/** Entries in the order of their data. */
function parseHeader(bytes: Uint8Array, broken: (detail: string) => UserError) {
  let header: unknown;
  if (bytes[0] !== 0x7b) throw broken('its header is no object: it does not begin with {');
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw broken(`its header is no JSON (${messageOf(error)})`);
  }
  const entries: Entry[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header as object)) {
    if (name === '__metadata__') {
      const parsed = z.record(z.string(), z.string()).safeParse(value);
      if (!parsed.success) throw broken('its __metadata__ is not a table of texts');
      metadata = parsed.data;
      continue;
    }
    const parsed = entrySchema.safeParse(value);
    if (!parsed.success) throw broken(`the entry '${name}' is malformed`);
    const { dtype, shape, data_offsets } = parsed.data;
    if (!Object.hasOwn(DTYPES, dtype)) throw broken(`'${name}' has the dtype ${dtype}, which we do not know`);
    entries.push({ name, dtype: DTYPES[dtype], shape, begin: data_offsets[0], end: data_offsets[1] });
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  return { entries, metadata };
}

/** Writes `tensors` (any device, any strides). Larger dtypes come first, so that each is aligned. */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const ordered = [...tensors].sort(([, a], [, b]) => bytesOf(b.dtype) - bytesOf(a.dtype));
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let offset = 0;
  for (const [name, { dtype, shape, numel }] of ordered) {
    const code = NAMES.get(dtype);
    if (name === '__metadata__' || name === '__proto__')
      throw new TypeError(`a tensor cannot be named ${name} in a safetensors file`);
    if (code === undefined) throw new TypeError(`'${name}' is ${dtype}, which safetensors files do not hold`);
    const end = offset + numel * bytesOf(dtype);
    header[name] = { dtype: code, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header), 'utf8');
  const padded = Buffer.alloc(Math.ceil(json.byteLength / 8) * 8, 0x20);
  json.copy(padded);
  const prefix = new DataView(new ArrayBuffer(8));
  prefix.setBigUint64(0, BigInt(padded.byteLength), true);
  writeAtomic(path, (append) => {
    append(new Uint8Array(prefix.buffer));
    append(padded);
    for (const [, value] of ordered) for (const piece of elementsOf(value)) append(piece);
  });
}
