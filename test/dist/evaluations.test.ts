/** Features, k-NN and linear evaluation by several ranks are those of one process. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { alone, hasCollectives } from '../../src/dist/index.js';
import type { KnnResult, LinearRunResult } from '../../src/eval/index.js';
import { readEntries } from '../../src/run/index.js';
import { setThreads, type Tensor } from '../../src/torch/index.js';
import { entryOf, readPth, stateDictOf } from '../../src/weights/index.js';
import { temporaryFolder, writePictures } from '../data/pictures.js';
import { writeLabelled } from '../eval/labelled-pictures.js';
import {
  classifyTogether,
  type Digest,
  describeTogether,
  type LinearTask,
  numbersOf,
  probeTogether,
} from './evaluation-tasks.js';
import { onRanks, reap } from './ranks.js';

setThreads(1);
afterAll(reap);

interface Evaluated {
  tables: Digest[];
  votes: KnnResult[][];
  linear: LinearRunResult[];
}

const RANKS = 3;
/** As a share of the largest number; losses and weights of fp32 after the few steps of these runs. */
const TOLERANCE = 1e-5;

const weightsOf = (folder: string): number[] => {
  const state = stateDictOf(entryOf(readPth(join(folder, 'checkpoint.pth.tar')), 'state_dict'));
  return numbersOf(state?.get('module.linear.weight') as Tensor);
};

function expectClose(found: readonly number[], wanted: readonly number[], what: string): void {
  expect(found.length, what).toBe(wanted.length);
  const size = Math.max(...wanted.map(Math.abs));
  for (const [i, value] of found.entries())
    expect(Math.abs(value - wanted[i]) / size, `${what}, number ${i}`).toBeLessThan(TOLERANCE);
}

/** All lines of a log, key by key. */
function expectSameLog(folder: string, other: string): void {
  for (const file of ['log.txt', 'metrics.jsonl']) {
    const [found, wanted] = [folder, other].map((place) => readEntries(join(place, file)));
    expect(found.map((entry) => Object.keys(entry))).toEqual(wanted.map((entry) => Object.keys(entry)));
    for (const key of Object.keys(wanted[0]))
      expectClose(
        found.map((entry) => Number(entry[key])),
        wanted.map((entry) => Number(entry[key])),
        `${key} of ${file}`,
      );
  }
}

const task = (outputDir: string, batchSize: number, more: Partial<LinearTask> = {}): LinearTask => ({
  path: labelled,
  outputDir,
  batchSize,
  augment: true,
  ...more,
});

let labelled: string;
let pictures: string;
let ranks: Evaluated[];
const folders = { shared: temporaryFolder(), left: temporaryFolder(), cached: temporaryFolder() };

describe.skipIf(!hasCollectives())(`${RANKS} ranks`, () => {
  beforeAll(async () => {
    // Batches of two: one has a picture that cannot be read, another has nothing else.
    const broken = ['class1/0001x.png', 'class1/0001y.png', 'class2/0005x.png'];
    const files = broken.map((name) => [name, Buffer.from('no picture')] as const);
    pictures = await writePictures(13, 20, Object.fromEntries(files));
    labelled = await writeLabelled(7); // 14 pictures in steps of 6: two ranks have none in the last one
    ranks = await onRanks<Evaluated>(RANKS, 'evaluations', {
      pictures,
      linear: [
        task(folders.shared, 2, { stopAfter: 5 }), // in the second epoch of three steps
        task(folders.left, 2, { stopAfter: 4 }),
        task(folders.cached, 2, { augment: false }),
      ],
    });
  }, 240_000);

  it('find the features of one process, in every bit and in their order', async () => {
    const tables = await describeTogether(alone, pictures);
    expect(tables.map(({ skipped }) => skipped)).toEqual([3, 3, 3, 2, 0]);
    for (const rank of ranks) expect(rank.tables).toEqual(tables);
  });

  it('count the votes of one process', () => {
    const votes = [700, 40].map((queries) => classifyTogether(alone, queries));
    expect(votes[0][0].top1).toBeGreaterThan(20);
    for (const rank of ranks) expect(rank.votes).toEqual(votes);
  });

  it('with a part of each batch train the classifiers of one with whole batches, which may go on', async () => {
    const [whole, notes] = [temporaryFolder(), [] as string[]];
    const result = await probeTogether(alone, task(whole, RANKS * 2));
    for (const { linear } of ranks) expect(linear[0]).toMatchObject({ status: 'interrupted', epochs: 1 });
    const resumed = await probeTogether(alone, task(folders.shared, RANKS * 2, { notes }));
    expect(notes.join()).toContain('A step was of 6 pictures (3 x 2), now it is of 6 pictures (1 x 6)');
    expect(resumed).toEqual(result);
    expectSameLog(folders.shared, whole);
    expectClose(weightsOf(folders.shared), weightsOf(whole), 'weights');
  });

  it('leave a run that one process goes on with in steps of its own', async () => {
    const notes: string[] = [];
    const { status, epochs } = await probeTogether(alone, task(folders.left, 2, { notes }));
    expect({ status, epochs }).toEqual({ status: 'finished', epochs: 3 });
    expect(notes.join()).toContain('now it is of 2 pictures (1 x 2); the learning rate follows');
    const rates = readEntries(join(folders.left, 'log.txt')).map(({ train_lr }) => Number(train_lr));
    const sizes = [RANKS * 2, 2, 2];
    const cosine = [1, 0.75, 0.25]; // half of one over three epochs
    expectClose(
      rates,
      sizes.map((size, epoch) => (size / 256) * cosine[epoch]),
      'learning rates',
    );
    // The same number of processes with other batches is another evaluation.
    await expect(probeTogether(alone, task(folders.left, 4))).rejects.toThrow(/holds classifiers of/);
  });

  it('find features that stay the same together, and rank 0 does the rest with the same bits', async () => {
    expect(ranks.map(({ linear }) => linear[2].status)).toEqual(['finished', 'helped', 'helped']);
    const folder = temporaryFolder();
    const result = await probeTogether(alone, task(folder, RANKS * 2, { augment: false }));
    expect(ranks[0].linear[2]).toEqual(result);
    const features = readdirSync(join(folder, 'features')).map((name) => join('features', name));
    expect(features).toHaveLength(5);
    for (const name of ['log.txt', 'metrics.jsonl', ...features]) {
      const [found, wanted] = [folders.cached, folder].map((place) => readFileSync(join(place, name)));
      expect(found.equals(wanted), name).toBe(true);
    }
    expect(weightsOf(folders.cached)).toEqual(weightsOf(folder));
  });
});
