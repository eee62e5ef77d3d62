/** Files of features with the names of their pictures: npy, csv, Parquet and safetensors. */

import { existsSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { writeAtomic, writeFileAtomic } from '../files.js';
import { scope, type Tensor, TensorBase, tensor } from '../torch/index.js';
import { npyHeader, readSafetensors, writeSafetensors } from '../weights/index.js';
import { csvLine, readCsv } from './csv.js';
import { npyRows } from './feature-store.js';
import { type FeatureRows, tensorRows } from './neighbours.js';
import { readParquet, writeParquet } from './parquet.js';

export const EMBEDDING_FORMATS = ['npy', 'csv', 'parquet', 'safetensors'] as const;
export type EmbeddingFormat = (typeof EMBEDDING_FORMATS)[number];

export interface Embedding {
  features: FeatureRows;
  names: readonly string[];
  /** [n] -1 = no label */
  labels: Int32Array;
}

/** Rows that are written at a time. */
const ROWS = 4096;

/** The format that the ending of a path names. */
export function embeddingFormat(path: string): EmbeddingFormat {
  const ending = extname(path).slice(1).toLowerCase();
  const found = EMBEDDING_FORMATS.find((format) => format === ending);
  if (found !== undefined) return found;
  throw new UserError(
    'usage',
    `${path}: expected an ending of ${EMBEDDING_FORMATS.map((format) => `.${format}`).join(', ')}, since it says the format.`,
  );
}

/** The file beside a `.npy` file that names its rows. */
const rowsFile = (path: string) => path.replace(/\.npy$/i, '.rows.csv');
/** The file beside an embedding that says what it is of. */
const factsFile = (path: string) => `${path}.json`;

export function writeEmbedding(path: string, embedding: Embedding): void {
  const { features, names, labels } = embedding;
  switch (embeddingFormat(path)) {
    case 'npy':
      // The names first: where the features are, the names are too.
      writeAtomic(rowsFile(path), (append) => {
        append(Buffer.from(csvLine(['name', 'label'])));
        for (const [i, name] of names.entries()) append(Buffer.from(csvLine([name, labels[i]])));
      });
      writeAtomic(path, (append) => {
        append(npyHeader([features.count, features.width], 'float32'));
        for (const values of pieces(features))
          append(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      });
      return;
    case 'csv':
      writeAtomic(path, (append) => {
        const columns = Array.from({ length: features.width }, (_, i) => `f${i}`);
        append(Buffer.from(csvLine(['name', 'label', ...columns])));
        let row = 0;
        for (const values of pieces(features)) {
          const lines: string[] = [];
          for (let at = 0; at < values.length; at += features.width, row++)
            lines.push(
              csvLine([
                names[row],
                labels[row],
                ...Array.from(values.subarray(at, at + features.width), shortest),
              ]),
            );
          append(Buffer.from(lines.join('')));
        }
      });
      return;
    case 'parquet':
      writeParquet(path, embedding);
      return;
    case 'safetensors':
      scope(() => {
        const bytes = names.map((name) => Buffer.from(name, 'utf8'));
        const ends = BigInt64Array.from(bytes, () => 0n);
        let end = 0;
        for (const [i, one] of bytes.entries()) {
          end += one.length;
          ends[i] = BigInt(end);
        }
        writeSafetensors(
          path,
          new Map([
            ['features', features.rows(0, features.count)],
            ['labels', tensor(labels).to({ dtype: 'int64' })],
            ['names.ends', tensor(ends)],
            ['names.utf8', tensor(new Uint8Array(Buffer.concat(bytes)))],
          ]),
        );
      });
  }
}

function* pieces(features: FeatureRows): Generator<Float32Array> {
  for (let start = 0; start < features.count; start += ROWS)
    yield scope(() => features.rows(start, Math.min(ROWS, features.count - start)).toFloat32());
}

/** A float32 in as few digits as bring it back. */
const shortest = (value: number) => Number(value.toPrecision(9));

/** Reads what `writeEmbedding` wrote; the features of `.npy` stay on the disk until they are wanted. */
export async function readEmbedding(path: string): Promise<Embedding> {
  const format = embeddingFormat(path);
  if (!existsSync(path))
    throw new UserError('usage', `There is no ${path}; esvit embed --output ${path} makes it.`);
  const found = await readers[format](path);
  const { count } = found.features;
  if (found.names.length !== count || found.labels.length !== count)
    throw new UserError(
      'data',
      `${path} has ${count} rows of features, ${found.names.length} names and ${found.labels.length} labels; make it again.`,
    );
  return found;
}

const readers: Readonly<Record<EmbeddingFormat, (path: string) => Embedding | Promise<Embedding>>> = {
  npy(path) {
    const rows = rowsFile(path);
    if (!existsSync(rows)) throw new UserError('data', `${path} lacks ${rows}, which names its rows.`);
    const names: string[] = [];
    const labels: number[] = [];
    for (const [name, label] of withoutHead(rows)) {
      names.push(name);
      labels.push(Number(label));
    }
    return { features: npyRows(path), names, labels: Int32Array.from(labels) };
  },
  csv(path) {
    const names: string[] = [];
    const labels: number[] = [];
    const rows: Float32Array[] = [];
    for (const [name, label, ...values] of withoutHead(path)) {
      names.push(name);
      labels.push(Number(label));
      rows.push(Float32Array.from(values, Number));
    }
    const width = rows[0]?.length ?? 0;
    const wrong = rows.findIndex((row) => row.length !== width || row.some(Number.isNaN));
    if (wrong >= 0)
      throw new UserError(
        'data',
        `${path}: record ${wrong + 2} does not hold ${width} numbers after name and label.`,
      );
    const numbers = new Float32Array(rows.length * width);
    for (const [i, row] of rows.entries()) numbers.set(row, i * width);
    const table = tensor(numbers, { shape: [rows.length, width] }).keep();
    return { features: tensorRows(table), names, labels: Int32Array.from(labels) };
  },
  async parquet(path) {
    const { features, names, labels } = await readParquet(path);
    if (names === undefined) throw new UserError('data', `${path} has no column 'name'.`);
    return { features: tensorRows(features), names, labels };
  },
  safetensors(path) {
    const { tensors } = readSafetensors(path);
    const part = (name: string): Tensor => {
      const value = tensors.get(name);
      if (value instanceof TensorBase) return value as Tensor;
      throw new UserError('data', `${path} lacks '${name}'; it is no embedding of esvit.`);
    };
    const text = Buffer.from(part('names.utf8').toArray() as Uint8Array);
    const ends = Array.from(part('names.ends').toArray(), Number);
    return {
      features: tensorRows(part('features').keep()),
      names: ends.map((end, i) => text.toString('utf8', i === 0 ? 0 : ends[i - 1], end)),
      labels: Int32Array.from(part('labels').toArray(), Number),
    };
  },
};

function* withoutHead(path: string): Generator<string[]> {
  let isHead = true;
  for (const record of readCsv(path)) {
    if (!isHead) yield record;
    isHead = false;
  }
}

/** Says beside an embedding what it is of, for who searches in it. */
export function writeFacts(path: string, facts: object): void {
  writeFileAtomic(factsFile(path), `${JSON.stringify(facts, null, 2)}\n`);
}

/** What stands beside an embedding, or undefined. */
export function readFacts(path: string): unknown {
  if (!existsSync(factsFile(path))) return undefined;
  try {
    return JSON.parse(readFileSync(factsFile(path), 'utf8'));
  } catch (error) {
    throw new UserError('data', `${factsFile(path)} is not valid JSON: ${messageOf(error)}.`);
  }
}
