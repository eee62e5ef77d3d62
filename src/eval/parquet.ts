/** Tables of features as Parquet, which data frames read: a name, a label and a list of floats in each row. */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { type AsyncBuffer, parquetMetadataAsync, parquetRead } from 'hyparquet';
import { ByteWriter, ParquetWriter } from 'hyparquet-writer';
import { messageOf, UserError } from '../errors.js';
import { writeAtomic } from '../files.js';
import { empty, inferenceMode, scope, type Tensor, tensor } from '../torch/index.js';
import type { FeatureRows } from './neighbours.js';

export interface FeatureFrame {
  features: FeatureRows;
  /** [n] -1 = no label */
  labels: Int32Array;
  /** file names, where there are any */
  names?: readonly string[];
}

/** Numbers of one row group: 16 MB of features. */
const GROUP_NUMBERS = 1 << 22;

const LIST = [
  { name: 'feature', repetition_type: 'REQUIRED', num_children: 1, converted_type: 'LIST' },
  { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
  { name: 'element', type: 'FLOAT', repetition_type: 'REQUIRED' },
] as const;
const LABEL = { name: 'label', type: 'INT32', repetition_type: 'REQUIRED' } as const;
const NAME = {
  name: 'name',
  type: 'BYTE_ARRAY',
  converted_type: 'UTF8',
  repetition_type: 'REQUIRED',
} as const;

/** Row group by row group; not more than one is in memory. */
export function writeParquet(
  path: string,
  { features, labels, names }: FeatureFrame,
  groupNumbers = GROUP_NUMBERS,
): void {
  const columns = names === undefined ? [LABEL] : [NAME, LABEL];
  const size = Math.max(1, Math.floor(groupNumbers / Math.max(1, features.width)));
  writeAtomic(path, (append) => {
    const writer = new ByteWriter();
    const flush = () => {
      append(new Uint8Array(writer.buffer, 0, writer.index));
      writer.index = 0;
    };
    const file = new ParquetWriter({
      writer,
      schema: [{ name: 'root', num_children: columns.length + 1 }, ...columns, ...LIST],
      codec: 'UNCOMPRESSED',
      createdBy: 'esvit',
    });
    for (let start = 0; start < features.count; start += size) {
      const count = Math.min(size, features.count - start);
      const values = scope(() => features.rows(start, count).toFloat32());
      const rows = Array.from({ length: count }, (_, i) =>
        Array.from(values.subarray(i * features.width, (i + 1) * features.width)),
      );
      file.write({
        columnData: [
          ...(names === undefined ? [] : [{ name: 'name', data: names.slice(start, start + count) }]),
          { name: 'label', data: labels.slice(start, start + count) },
          { name: 'feature', data: rows },
        ],
        rowGroupSize: count,
      });
      flush();
    }
    file.finish();
    flush();
  });
}

/** Reads what `writeParquet` wrote, or another file with a column of lists of equal length named `feature`. */
export async function readParquet(
  path: string,
): Promise<{ features: Tensor; labels: Int32Array; names: string[] | undefined }> {
  const file = openSync(path, 'r');
  try {
    const buffer = asBuffer(file);
    const metadata = await parquetMetadataAsync(buffer);
    const has = new Set(metadata.schema.map(({ name }) => name));
    if (!has.has('feature')) throw new Error("it has no column 'feature'");
    const count = Number(metadata.num_rows);
    const labels = new Int32Array(count).fill(-1);
    const names: string[] | undefined = has.has('name') ? new Array<string>(count) : undefined;
    let table: Tensor | undefined;
    await parquetRead({
      file: buffer,
      metadata,
      columns: ['name', 'label', 'feature'].filter((name) => has.has(name)),
      onChunk: ({ columnName, columnData, rowStart }) => {
        if (columnName === 'label')
          for (const [i, value] of columnData.entries()) labels[rowStart + i] = Number(value);
        else if (columnName === 'name' && names)
          for (const [i, value] of columnData.entries()) names[rowStart + i] = String(value);
        else if (columnName === 'feature')
          table = fill(table, columnData as ArrayLike<ArrayLike<number>>, rowStart, count);
      },
    });
    return { features: table ?? empty([0, 0]).keep(), labels, names };
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError('data', `${path} cannot be read as Parquet of features: ${messageOf(error)}.`);
  } finally {
    closeSync(file);
  }
}

function fill(
  table: Tensor | undefined,
  rows: ArrayLike<ArrayLike<number>>,
  start: number,
  count: number,
): Tensor {
  const width = rows.length > 0 ? rows[0].length : 0;
  const whole = table ?? empty([count, width]).keep();
  if (whole.shape[1] !== width) throw new Error(`rows of ${whole.shape[1]} and of ${width} numbers`);
  const numbers = new Float32Array(rows.length * width);
  for (let i = 0; i < rows.length; i++) {
    if (rows[i].length !== width) throw new Error(`rows of ${width} and of ${rows[i].length} numbers`);
    numbers.set(rows[i], i * width);
  }
  inferenceMode(() =>
    scope(() => {
      whole.narrow(0, start, rows.length).copy_(tensor(numbers, { shape: [rows.length, width] }));
    }),
  );
  return whole;
}

function asBuffer(file: number): AsyncBuffer {
  const { size } = fstatSync(file);
  return {
    byteLength: size,
    slice(start, end = size) {
      const bytes = new Uint8Array(new ArrayBuffer(end - start));
      for (let done = 0; done < bytes.length; ) {
        const count = readSync(file, bytes, done, bytes.length - done, start + done);
        if (count === 0) throw new Error('it ends too early');
        done += count;
      }
      return bytes.buffer;
    },
  };
}
