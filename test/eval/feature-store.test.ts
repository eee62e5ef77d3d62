/** Features on disk: every format gives back what was written, under the original's names. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import {
  dumpFeatures,
  FEATURE_FORMATS,
  type FeatureRows,
  featureFiles,
  knnAccuracy,
  type LabelledFeatures,
  loadFeatures,
  readParquet,
  tensorRows,
  writeParquet,
} from '../../src/eval/index.js';
import { manualSeed, randn, setThreads, type Tensor, TensorBase, tensor } from '../../src/torch/index.js';
import { writeNpy } from '../../src/weights/index.js';

setThreads(1);

const root = mkdtempSync(join(tmpdir(), 'esvit-features-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function side(rows: number, seed: number) {
  manualSeed(seed);
  const features = randn([rows, 5]);
  const labels = tensor(BigInt64Array.from({ length: rows }, (_, i) => BigInt((i * 3) % 4)));
  return { features: features.div(features.norm(2, [1], true)), labels };
}

const pair = { bank: side(30, 1), queries: side(11, 2) };
const numbers = (x: Tensor) => Array.from(x.toArray(), Number);

function tableOf({ features }: LabelledFeatures): number[] {
  if (features instanceof TensorBase) return numbers(features as Tensor);
  const rows = features as FeatureRows;
  return numbers(rows.rows(0, rows.count));
}

describe.each(FEATURE_FORMATS)('%s', (format) => {
  it('gives back features and labels, and the same accuracies', async () => {
    const folder = join(root, format);
    dumpFeatures(folder, format, pair);
    expect(readdirSync(folder).sort()).toEqual(featureFiles(format).sort());
    const loaded = await loadFeatures(folder);
    expect(loaded.format).toBe(format);
    for (const name of ['bank', 'queries'] as const) {
      expect(tableOf(loaded[name])).toEqual(numbers(pair[name].features));
      expect(numbers(loaded[name].labels)).toEqual(numbers(pair[name].labels));
    }
    const options = { ks: [1, 5, 30], temperatures: [0.07] };
    expect(knnAccuracy(loaded.bank, loaded.queries, options)).toEqual(
      knnAccuracy(pair.bank, pair.queries, options),
    );
  });
});

it('the names of the original', () => {
  expect(featureFiles('pth')).toEqual(['trainfeat.pth', 'trainlabels.pth', 'testfeat.pth', 'testlabels.pth']);
});

describe('refused is', () => {
  it('a folder without features', async () => {
    await expect(loadFeatures(join(root, 'nowhere'))).rejects.toThrow(UserError);
    await expect(loadFeatures(join(root, 'nowhere'))).rejects.toThrow(/trainfeat\.pth/);
  });

  it('a label too few, and a vector where a matrix should be', async () => {
    const folder = join(root, 'short');
    dumpFeatures(folder, 'npy', pair);
    writeNpy(join(folder, 'trainlabels.npy'), pair.bank.labels.narrow(0, 0, 29));
    await expect(loadFeatures(folder)).rejects.toThrow(/30 train features and 29 labels/);
    writeNpy(join(folder, 'trainfeat.npy'), pair.bank.labels);
    await expect(loadFeatures(folder)).rejects.toThrow(/no matrix of features: it has shape \[30\]/);
  });

  it('what is no Parquet', async () => {
    writeFileSync(join(root, 'text.parquet'), 'name,label\n');
    await expect(readParquet(join(root, 'text.parquet'))).rejects.toThrow(UserError);
  });
});

it('Parquet keeps names of any letters, over several row groups', async () => {
  const path = join(root, 'names.parquet');
  const rows = 9;
  const wide = tensor(Float32Array.from({ length: rows * 8 }, (_, i) => i)).view([rows, 8]);
  const names = Array.from({ length: rows }, (_, i) => `Ä "${i}",\n猫/${i}.png`);
  const labels = Int32Array.from({ length: rows }, (_, i) => i - 1);
  writeParquet(path, { features: tensorRows(wide), labels, names }, 32); // four rows fill a group
  const back = await readParquet(path);
  expect(back.names).toEqual(names);
  expect([...back.labels]).toEqual([...labels]);
  expect(numbers(back.features)).toEqual(numbers(wide));
});

const hasPyarrow = () => {
  try {
    execFileSync('python3', ['-c', 'import pyarrow.parquet'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

it.skipIf(!hasPyarrow())('Parquet is read by pyarrow (needs python3 with pyarrow)', () => {
  const path = join(root, 'arrow.parquet');
  const { features } = pair.bank;
  writeParquet(path, { features: tensorRows(features), labels: new Int32Array(30).fill(2) });
  const program = `
import sys, json, pyarrow.parquet as p
t = p.read_table(sys.argv[1]).to_pydict()
print(json.dumps([t["feature"], t["label"]]))`;
  const [rows, labels] = JSON.parse(execFileSync('python3', ['-c', program, path], { encoding: 'utf8' }));
  expect(rows.flat()).toEqual(numbers(features));
  expect(labels).toEqual(Array(30).fill(2));
});
