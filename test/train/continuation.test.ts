/** How a run begins: what goes on, what is refused, and which checkpoint is used. */

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { RunFolder } from '../../src/run/index.js';
import { setThreads } from '../../src/torch/index.js';
import { Checkpointing } from '../../src/train/checkpointing.js';
import { goOn } from '../../src/train/continuation.js';
import { howToBegin, isDone, type ResolvedTrainConfig, saveCheckpoint } from '../../src/train/index.js';
import { type PyValue, readPth, writePth } from '../../src/weights/index.js';
import { microState } from '../ssl/micro.js';

setThreads(1);

const root = mkdtempSync(join(tmpdir(), 'esvit-continuation-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const usual = {
  ...{ out_dim: 12, optimizer: 'adamw', seed: 0, epochs: 4, lr: 0.0005, resume: 'auto', num_workers: 1 },
  ...{ pretrained_weights: '', pretrained_weights_ckpt: '', local_crops: [{ size: 96, count: 8 }] },
  ...{ saveckp_freq: 0, keep_checkpoints: 2, checkpoint_every_minutes: 0, checkpoint_every_iterations: 0 },
};
const config = (more: Partial<ResolvedTrainConfig> = {}) => ({ ...usual, ...more }) as ResolvedTrainConfig;

let folder: RunFolder;
const notes: string[] = [];
const note = (line: string) => notes.push(line);
beforeEach(() => {
  folder = RunFolder.open(mkdtempSync(join(root, 'run-')));
});
afterEach(() => {
  folder.close();
  notes.length = 0;
});

/** A run that was interrupted. */
function interrupted(settings = config()): void {
  folder.writeConfig(settings);
  saveCheckpoint(folder.checkpointPath, microState(), { epoch: 2, step: 0, sums: {} }, settings);
}

const begin = (more: Partial<ResolvedTrainConfig> = {}) => howToBegin(folder, config(more));

describe('a run', () => {
  it('is begun in an empty folder, and goes on in one with a checkpoint', () => {
    expect(begin()).toEqual({ from: 'nothing', notes: [] });
    expect(begin({ resume: 'never' }).from).toBe('nothing');
    expect(begin({ resume: 'some.pth' }).from).toBe('file');
    interrupted();
    expect(begin()).toEqual({ from: 'folder', notes: [] });
    expect(() => begin({ resume: 'never' })).toThrow(/holds an interrupted run/);
  });

  it.each<[Partial<ResolvedTrainConfig>, RegExp]>([
    [{ out_dim: 32 }, /has out_dim 12, now it is 32/],
    [{ optimizer: 'lars' }, /has optimizer "adamw", now it is "lars"/],
    [{ local_crops: [] }, /has local_crops \[\{"size":96,"count":8\}\], now it is \[\]/],
    [{ pretrained_weights: 'other.pth' }, /has pretrained_weights "", now it is "other\.pth"/],
  ])('does not go on with %j', (more, message) => {
    interrupted();
    expect(() => begin(more)).toThrow(message);
  });

  it('says what else has changed', () => {
    interrupted();
    expect(begin({ lr: 0.001, epochs: 9, num_workers: 7 }).notes).toEqual([
      'Changed since this run began: epochs 4 -> 9, lr 0.0005 -> 0.001.',
    ]);
  });

  it('that is finished is trained for longer only on demand', () => {
    interrupted();
    folder.finish({});
    expect(() => begin()).toThrow(/is finished.*raise --epochs above 4/);
    expect(folder.status).toBe('finished');
    expect(begin({ epochs: 8 }).from).toBe('folder');
    expect(folder.status).toBe('interrupted');
  });

  it('is done where it is finished with the same settings, whatever the machine and the number of processes', () => {
    interrupted(config({ world_size: 2, batch_size_per_gpu: 8, precision: 'fp32' }));
    const same = config({ world_size: 2, batch_size_per_gpu: 8, num_workers: 5, output_dir: 'elsewhere' });
    expect(isDone(folder, same)).toBe(false);
    folder.finish({ steps: 7 });
    expect(isDone(folder, same)).toBe(true);
    expect(isDone(folder, { ...same, precision: 'bf16' })).toBe(true);
    expect(isDone(folder, { ...same, world_size: 4, batch_size_per_gpu: 4 })).toBe(true);
    for (const other of [{ epochs: 5 }, { lr: 0.001 }, { out_dim: 32 }, { batch_size_per_gpu: 16 }])
      expect(isDone(folder, { ...same, ...other }), JSON.stringify(other)).toBe(false);
    expect(folder.readSummary()).toEqual({ steps: 7 });
    expect(folder.status).toBe('finished');
  });
});

describe('--resume FILE', () => {
  it('does not replace another run, but takes a run back to a state of its own', () => {
    interrupted();
    expect(() => begin({ resume: '/elsewhere/checkpoint.pth' })).toThrow(
      /holds an interrupted run, which --resume \/elsewhere\/checkpoint\.pth would replace/,
    );
    const own = folder.checkpoints.kept(0);
    const back = begin({ resume: own });
    expect(back.from).toBe('file');
    expect(back.notes.join()).toContain(`Back to ${own}`);
  });

  it('given again goes on from the newest state instead', () => {
    const settings = { resume: '/elsewhere/checkpoint.pth' };
    interrupted(config(settings));
    const again = begin(settings);
    expect(again.from).toBe('folder');
    expect(again.notes.join()).toContain('goes on from the newest');
  });

  it('is another thing than weights to start from', () => {
    for (const flag of ['pretrained_weights', 'pretrained_weights_ckpt'])
      expect(() => begin({ resume: 'some.pth', [flag]: 'w.pth' })).toThrow(/Give one of them/);
    interrupted(config({ pretrained_weights_ckpt: 'w.pth' }));
    expect(begin({ pretrained_weights_ckpt: 'w.pth' }).notes).toEqual([
      'The weights that the run began with are not loaded again.',
    ]);
  });
});

describe('a checkpoint that cannot be read', () => {
  /** Saves the states after epochs 1, 2 and 3. */
  function three(keep = 3): void {
    const saver = new Checkpointing(config({ keep_checkpoints: keep }), folder, microState(), note);
    for (const epoch of [1, 2, 3]) saver.save({ epoch, step: 0, sums: {} }, epoch);
  }
  const load = () => goOn('folder', config(), folder, microState({ seed: 5 }), note).epoch;

  it('gives way to the one before, and that is said', () => {
    three();
    expect(load()).toBe(3);
    truncateSync(folder.checkpoints.newest, 3000);
    writeFileSync(folder.checkpoints.previous(1), '');
    expect(load()).toBe(1);
    expect(notes).toHaveLength(2);
    expect(notes[0]).toMatch(
      /put aside as .*checkpoint_broken\.pth; the run goes on from .*checkpoint_prev2\.pth/,
    );
    expect(load()).toBe(1);
    expect(notes).toHaveLength(2);
  });

  it('is an error where there is no other, and stays where it is', () => {
    three(1);
    truncateSync(folder.checkpoints.newest, 3000);
    expect(load).toThrow(UserError);
    expect(load).toThrow(/no checkpoint in .* can be read: /);
    expect(folder.status).toBe('interrupted');
  });

  it('is something else than one of another network: that is refused', () => {
    three();
    expect(() => goOn('folder', config(), folder, microState({ outDim: 20 }), note)).toThrow(
      /does not fit this run/,
    );
    expect(notes).toEqual([]);
  });

  it('or one of a newer esvit: that is not for this one to put aside', () => {
    three();
    const content = readPth(folder.checkpoints.newest) as Map<PyValue, PyValue>;
    (content.get('esvit') as Map<PyValue, PyValue>).set('version', 2);
    writePth(folder.checkpoints.newest, content);
    expect(load).toThrow(/another version of esvit; update esvit/);
    expect(folder.checkpoints.candidates()).toHaveLength(3);
  });

  it('or one beyond the last epoch is refused', () => {
    three();
    expect(() => goOn('folder', config({ epochs: 2 }), folder, microState(), note)).toThrow(
      /is at epoch 3, beyond --epochs 2/,
    );
  });
});

describe('what stays', () => {
  it('is the best by k-NN, every so many epochs, and it goes on counting after a restart', () => {
    const settings = config({ saveckp_freq: 2, epochs: 9 });
    const state = microState();
    const ended = (saver: Checkpointing, epoch: number, knn: number) => {
      folder.log({ epoch, knn10_top1: knn });
      saver.endEpoch({ epoch: epoch + 1, step: 0, sums: {} }, epoch + 1, { epoch, knn });
    };
    const epochOf = (path: string) => {
      const other = microState({ seed: 3 });
      return goOn('file', { ...settings, resume: path } as ResolvedTrainConfig, folder, other, note).epoch;
    };
    const saver = new Checkpointing(settings, folder, state, note);
    ended(saver, 0, 40);
    ended(saver, 1, 60);
    const restarted = new Checkpointing(settings, folder, state, note);
    ended(restarted, 2, 50);
    expect(epochOf(folder.checkpoints.best)).toBe(2);
    expect(epochOf(folder.checkpoints.kept(0))).toBe(1);
    expect(epochOf(folder.checkpoints.kept(2))).toBe(3);
  });
});
