/** A whole linear evaluation: its log, going on where it was stopped, its cache. */

import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openImages } from '../../src/data/index.js';
import { UserError } from '../../src/errors.js';
import { evaluationPlan, type LinearRunResult, runLinear } from '../../src/eval/index.js';
import { readEntries } from '../../src/run/index.js';
import { manualSeed, setThreads, type Tensor } from '../../src/torch/index.js';
import { entryOf, readPth, stateDictOf } from '../../src/weights/index.js';
import { temporaryFolder } from '../data/pictures.js';
import { microBackbone } from '../ssl/micro.js';
import { writeLabelled } from './labelled-pictures.js';

setThreads(1);

const EPOCHS = 3;

async function subjectOf(path: string, blocks: number[] = [1]) {
  manualSeed(3);
  const train = await openImages(path);
  const val = await openImages(path, { split: 'val', classes: train.classes });
  return {
    backbone: microBackbone(),
    train,
    val,
    plan: evaluationPlan(16),
    batchSize: 4,
    workers: 0,
    device: 'cpu',
    blocks,
    avgpoolPatchTokens: false,
    name: 'micro',
  };
}

type Extra = { lrs?: number[]; blocks?: number[]; augment?: boolean; stopAfter?: number; notes?: string[] };

async function evaluate(path: string, outputDir: string, extra: Extra = {}): Promise<LinearRunResult> {
  const { lrs = [5], blocks, augment = false, stopAfter, notes = [] } = extra;
  const subject = await subjectOf(path, blocks);
  let batches = 0;
  try {
    return await runLinear({
      subject,
      lrs,
      epochs: EPOCHS,
      valFreq: 2,
      numLabels: 2,
      seed: 1,
      augment,
      outputDir,
      note: (line) => notes.push(line),
      stopped: () => stopAfter !== undefined && ++batches >= stopAfter,
    });
  } finally {
    subject.train.close();
    subject.val.close();
  }
}

const weights = (folder: string) => {
  const state = stateDictOf(entryOf(readPth(join(folder, 'checkpoint.pth.tar')), 'state_dict'));
  const weight = state?.get('module.linear.weight') as Tensor;
  return Array.from(weight.toArray(), Number);
};

describe.each([false, true])('with augmentation %s', (augment) => {
  it('the log has the keys of the original, and a run that was stopped ends like one that was not', async () => {
    const path = await writeLabelled(7); // 14 pictures: the last batch is short
    const [whole, halves] = [temporaryFolder(), temporaryFolder()];
    const result = await evaluate(path, whole, { augment });
    expect(result).toMatchObject({ status: 'finished', epochs: EPOCHS, best: 0 });
    expect(result.probes[0].best).toBe(100);
    const entries = readEntries(join(whole, 'log.txt'));
    expect(entries.map((entry) => Object.keys(entry).join(' '))).toEqual([
      'train_lr train_loss epoch test_loss test_acc1 test_acc5',
      'train_lr train_loss epoch',
      'train_lr train_loss epoch test_loss test_acc1 test_acc5',
    ]);
    expect(entries[0].train_lr).toBeCloseTo((5 * 4) / 256, 12);

    const stopped = await evaluate(path, halves, { augment, stopAfter: 6 }); // in the second epoch of 4 batches
    expect(stopped).toMatchObject({ status: 'interrupted', epochs: 1 });
    const resumed = await evaluate(path, halves, { augment });
    expect(resumed).toEqual(result);
    expect(weights(halves)).toEqual(weights(whole));
    expect(readEntries(join(halves, 'log.txt'))).toEqual(entries);
    expect(await evaluate(path, halves, { augment })).toEqual(result); // nothing is left to do
  }, 60_000);
});

it('several settings are trained at once, and the best one is named', async () => {
  const path = await writeLabelled(6);
  const folder = temporaryFolder();
  const { probes, best } = await evaluate(path, folder, { lrs: [1e-9, 5], blocks: [1, 2] });
  expect(probes.map(({ blocks, lr }) => [blocks, lr])).toEqual([
    [1, 1e-9],
    [1, 5],
    [2, 1e-9],
    [2, 5],
  ]);
  expect(probes[best].best).toBe(Math.max(...probes.map((probe) => probe.best)));
  expect(probes.slice(0, best).every((probe) => probe.best < probes[best].best)).toBe(true);
  expect(probes[3].best).toBe(100);
  expect(readEntries(join(folder, 'metrics.jsonl'))).toHaveLength(4 * EPOCHS);
});

it('features without augmentation are computed once, and not taken for those of another network', async () => {
  const path = await writeLabelled(6);
  const folder = temporaryFolder();
  await evaluate(path, folder);
  const file = join(folder, 'features', 'trainfeat.npy');
  const before = statSync(file).mtimeMs;
  rmSync(join(folder, 'checkpoint.pth.tar'));
  const notes: string[] = [];
  await evaluate(path, folder, { notes });
  expect(notes.join()).toMatch(/Features read from/);
  expect(statSync(file).mtimeMs).toBe(before);
  const meta = join(folder, 'features', 'features.json');
  expect(readFileSync(meta, 'utf8')).toContain('micro');
  rmSync(join(folder, 'checkpoint.pth.tar'));
  notes.length = 0;
  await evaluate(path, folder, { notes, blocks: [2] });
  expect(notes).toEqual([]);
});

describe('refused is', () => {
  it('the folder of a training run, and more blocks than there are', async () => {
    const path = await writeLabelled(2);
    const folder = temporaryFolder();
    await expect(evaluate(path, folder, { blocks: [9] })).rejects.toThrow(/network has 3 blocks/);
    expect(existsSync(join(folder, 'log.txt'))).toBe(false);
    const { writeFileSync } = await import('node:fs');
    writeFileSync(join(folder, 'config.json'), '{}');
    await expect(evaluate(path, folder)).rejects.toThrow(UserError);
  });

  it('a learning rate at which nothing is finite any more', async () => {
    const path = await writeLabelled(4);
    await expect(evaluate(path, temporaryFolder(), { lrs: [1e39] })).rejects.toThrow(/too high/);
  });
});
