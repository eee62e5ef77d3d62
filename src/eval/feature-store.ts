/** The features of a labelled data set on disk, under the original's file names and in other formats. */

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { inferenceMode, type Tensor, TensorBase, tensor } from '../torch/index.js';
import {
  NpyFile,
  readNpy,
  readPth,
  readSafetensors,
  writeNpy,
  writePth,
  writeSafetensors,
} from '../weights/index.js';
import type { LabelledFeatures } from './knn.js';
import { type FeatureRows, tensorRows } from './neighbours.js';
import { readParquet, writeParquet } from './parquet.js';

export const FEATURE_FORMATS = ['pth', 'npy', 'parquet', 'safetensors'] as const;
export type FeatureFormat = (typeof FEATURE_FORMATS)[number];

/** A table of features in memory with its labels. */
export interface LabelledTable {
  /** float32 [n, D] */
  features: Tensor;
  /** int64 [n] */
  labels: Tensor;
}

export interface FeaturePair<Side extends LabelledFeatures = LabelledFeatures> {
  /** of the training pictures, which vote */
  bank: Side;
  /** of the others, which are classified */
  queries: Side;
}

const SIDES = { bank: 'train', queries: 'test' } as const;
const sideNames = Object.keys(SIDES) as (keyof typeof SIDES)[];
const SAFETENSORS = 'features.safetensors';

/** The files of a format, in the order of writing. */
export function featureFiles(format: FeatureFormat): string[] {
  if (format === 'safetensors') return [SAFETENSORS];
  if (format === 'parquet') return Object.values(SIDES).map((side) => `${side}.parquet`);
  return Object.values(SIDES).flatMap((side) => [`${side}feat.${format}`, `${side}labels.${format}`]);
}

/** Writes both tables into `folder`, which is made where it is missing. */
export function dumpFeatures(folder: string, format: FeatureFormat, pair: FeaturePair<LabelledTable>): void {
  mkdirSync(folder, { recursive: true });
  const at = (name: string) => join(folder, name);
  if (format === 'safetensors') {
    const { bank, queries } = pair;
    writeSafetensors(
      at(SAFETENSORS),
      new Map([
        ['train.features', bank.features],
        ['train.labels', bank.labels],
        ['val.features', queries.features],
        ['val.labels', queries.labels],
      ]),
    );
    return;
  }
  for (const name of sideNames) {
    const { features, labels } = pair[name];
    const stem = SIDES[name];
    switch (format) {
      case 'pth':
        writePth(at(`${stem}feat.pth`), features);
        writePth(at(`${stem}labels.pth`), labels);
        break;
      case 'npy':
        writeNpy(at(`${stem}feat.npy`), features);
        writeNpy(at(`${stem}labels.npy`), labels);
        break;
      case 'parquet':
        writeParquet(at(`${stem}.parquet`), {
          features: tensorRows(features),
          labels: Int32Array.from(labels.toArray(), Number),
        });
    }
  }
}

/** The format whose files all lie in `folder`; of several the first of `FEATURE_FORMATS`. */
export function formatIn(folder: string): FeatureFormat {
  const found = FEATURE_FORMATS.find((format) =>
    featureFiles(format).every((name) => existsSync(join(folder, name))),
  );
  if (found !== undefined) return found;
  const wanted = FEATURE_FORMATS.map((format) => featureFiles(format).join(' + ')).join(', or ');
  throw new UserError(
    'usage',
    `${folder} holds no features. Expected ${wanted}; --dump_features ${folder} writes them.`,
  );
}

/** Reads both tables. Those of `.npy` stay on the disk and are read in blocks. */
export async function loadFeatures(folder: string): Promise<FeaturePair & { format: FeatureFormat }> {
  const format = formatIn(folder);
  const [bank, queries] = [await loadSide(folder, format, 'bank'), await loadSide(folder, format, 'queries')];
  for (const [side, { features, labels }] of Object.entries({ train: bank, test: queries })) {
    const rows = features instanceof TensorBase ? features.shape[0] : (features as FeatureRows).count;
    if (rows !== labels.numel)
      throw new UserError(
        'data',
        `${folder} has ${rows} ${side} features and ${labels.numel} labels; dump them again.`,
      );
  }
  return { bank, queries, format };
}

async function loadSide(
  folder: string,
  format: FeatureFormat,
  name: keyof typeof SIDES,
): Promise<LabelledFeatures> {
  const stem = SIDES[name];
  const at = (file: string) => join(folder, file);
  switch (format) {
    case 'pth':
      return {
        features: matrix(readPth(at(`${stem}feat.pth`)), at(`${stem}feat.pth`)),
        labels: vector(readPth(at(`${stem}labels.pth`)), at(`${stem}labels.pth`)),
      };
    case 'npy':
      return {
        features: npyRows(at(`${stem}feat.npy`)),
        labels: vector(readNpy(at(`${stem}labels.npy`)), at(`${stem}labels.npy`)),
      };
    case 'parquet': {
      const { features, labels } = await readParquet(at(`${stem}.parquet`));
      return { features, labels: tensor(BigInt64Array.from(labels, BigInt)) };
    }
    case 'safetensors': {
      const { tensors } = readSafetensors(at(SAFETENSORS));
      const side = name === 'bank' ? 'train' : 'val';
      const part = (key: string) => tensors.get(`${side}.${key}`) ?? null;
      return {
        features: matrix(part('features'), `${side}.features of ${at(SAFETENSORS)}`),
        labels: vector(part('labels'), `${side}.labels of ${at(SAFETENSORS)}`),
      };
    }
  }
}

/** The rows of a `.npy` matrix, read when they are wanted. The file stays open as long as the process lives. */
export function npyRows(path: string): FeatureRows {
  const file = new NpyFile(path);
  const [count, width] = file.shape;
  if (file.shape.length !== 2) {
    file.close();
    throw notA('matrix of features', path, file.shape);
  }
  return { count, width, rows: (start, rows) => file.rows(start, rows).to({ dtype: 'float32' }) };
}

function matrix(value: unknown, place: string): Tensor {
  if (!(value instanceof TensorBase)) throw notA('matrix of features', place);
  if (value.ndim !== 2) throw notA('matrix of features', place, value.shape);
  return inferenceMode(() => (value as Tensor).to({ dtype: 'float32' }));
}

function vector(value: unknown, place: string): Tensor {
  if (!(value instanceof TensorBase)) throw notA('vector of labels', place);
  if (value.ndim !== 1) throw notA('vector of labels', place, value.shape);
  return inferenceMode(() => (value as Tensor).to({ dtype: 'int64' }));
}

function notA(what: string, place: string, shape?: readonly number[]): UserError {
  const found = shape === undefined ? 'it is no array' : `it has shape [${shape.join(', ')}]`;
  return new UserError('data', `${place} is no ${what}: ${found}.`);
}
