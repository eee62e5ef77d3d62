/** Reads and writes safetensors files: a JSON header of names, dtypes, shapes and places, then the raw elements. */

import { z } from 'zod';
import { messageOf, UserError } from '../errors.js';
import { writeAtomic } from '../files.js';
import { bytesOf, type DType, fromBuffer, type Tensor } from '../torch/index.js';
import { RandomFile } from './archive.js';

const DTYPES: Readonly<Record<string, DType>> = {
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
};

const NAMES = new Map(Object.entries(DTYPES).map(([name, dtype]) => [dtype, name]));

/** As the reference implementation: a longer header is a broken or hostile file. */
const MAX_HEADER = 100_000_000;

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

export function readSafetensors(path: string): SafeTensors {
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

    let expected = 0;
    for (const { name, dtype, shape, begin, end } of entries) {
      if (begin !== expected) throw broken(`'${name}' begins at byte ${begin}, expected ${expected}`);
      const size = shape.reduce((product, dim) => product * dim, bytesOf(dtype));
      if (!Number.isSafeInteger(shape.reduce((product, dim) => product * Math.max(1, dim), bytesOf(dtype))))
        throw broken(`'${name}' has the impossible shape [${shape.join(', ')}]`);
      if (end - begin !== size)
        throw broken(
          `'${name}' has ${end - begin} bytes, expected ${size} for ${dtype} [${shape.join(', ')}]`,
        );
      expected = end;
    }
    if (expected !== file.size - start)
      throw broken(`it has ${file.size - start} bytes of data, expected ${expected}`);

    const tensors = new Map<string, Tensor>();
    for (const { name, dtype, shape, begin, end } of entries) {
      const bytes = new Uint8Array(new ArrayBuffer(end - begin));
      file.readInto(bytes, start + begin);
      tensors.set(name, fromBuffer(bytes.buffer, { shape, dtype }));
    }
    return { tensors, metadata };
  } finally {
    file.close();
  }
}

/** Entries in the order of their data. */
function parseHeader(bytes: Uint8Array, broken: (detail: string) => UserError) {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw broken(`its header is no JSON (${messageOf(error)})`);
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    throw broken('its header is no object');
  const entries: { name: string; dtype: DType; shape: number[]; begin: number; end: number }[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
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
    for (const [, value] of ordered) append(value.detach().to({ device: 'cpu' }).bytes());
  });
}
