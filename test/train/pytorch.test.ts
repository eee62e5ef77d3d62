/** Runs go on from PyTorch to here and from here to PyTorch, with the state of the optimiser. */

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { manualSeed, noGrad, randn, scope, setThreads, type Tensor } from '../../src/torch/index.js';
import { loadCheckpoint, type StepState, saveCheckpoint, trainStep } from '../../src/train/index.js';
import { entryOf, OrderedDict, readPth, stateDictOf, writePth } from '../../src/weights/index.js';
import { microBatch, microState } from '../ssl/micro.js';

setThreads(1);

const PYTHON = '/usr/bin/python3';
const hasTorch =
  spawnSync(PYTHON, ['-c', 'import importlib.util as u; assert u.find_spec("torch")']).status === 0;

const fixtures = fileURLToPath(new URL('../fixtures/train/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'esvit-pytorch-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A run of two steps. */
function begun(): StepState {
  const state = microState();
  const settings = { epoch: 0, lr: 0.01, weightDecay: 0.1, momentum: 0.9, clipGrad: 3 } as const;
  for (const seed of [1, 2])
    scope(() =>
      trainStep(state, [microBatch(seed)], 1, { ...settings, freezeLastLayer: false, precision: 'float32' }),
    );
  return state;
}

/** A gradient for every trained parameter, under the names of a checkpoint. */
function gradients(state: StepState): OrderedDict {
  manualSeed(7);
  const trained = [...state.student.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad);
  return new OrderedDict(trained.map(([name, { shape }]) => [`module.${name}`, randn([...shape])]));
}

/** The step of the Python script. */
function step(state: StepState, given: ReadonlyMap<string, Tensor>): void {
  const [decayed, others] = state.optimizer.groups;
  Object.assign(decayed, { lr: 0.01, weightDecay: 0.1 });
  others.lr = 0.01;
  noGrad(() => {
    for (const [name, parameter] of state.student.namedParameters()) {
      const gradient = given.get(`module.${name}`);
      if (gradient !== undefined) parameter.grad = gradient.clone();
    }
  });
  state.optimizer.step();
  state.optimizer.zeroGrad();
}

/** The largest difference between the student's parameters and those of a file. */
function distance(state: StepState, theirs: ReadonlyMap<string, Tensor>): number {
  const own = state.student.namedParameters();
  return Math.max(
    ...[...theirs].map(([name, value]) => {
      const mine = own.get(name.replace(/^module\./, ''));
      return mine === undefined ? 0 : scope(() => mine.detach().sub(value).abs().max().item());
    }),
  );
}

function expectGoesOn(theirs: string, given: ReadonlyMap<string, Tensor>): void {
  const state = microState({ seed: 9 });
  expect(loadCheckpoint(theirs, state)).toEqual({ epoch: 3, step: 0, sums: {} });
  const content = readPth(theirs);
  const student = stateDictOf(entryOf(content, 'student'));
  const after = stateDictOf(entryOf(content, 'after'));
  if (student === undefined || after === undefined) throw new Error('the file lacks a part');
  expect(distance(state, student)).toBe(0);
  expect(distance(state, after)).toBeGreaterThan(0.005); // a step of Adam moves by about the learning rate
  step(state, given);
  expect(distance(state, after)).toBeLessThan(2e-6);
}

const read = (path: string): Map<string, Tensor> => {
  const found = stateDictOf(readPth(path));
  if (found === undefined) throw new Error(`${path} holds no tensors`);
  return found;
};

describe('a checkpoint of PyTorch', () => {
  it('goes on here, with its moments and counts', () => {
    expectGoesOn(join(fixtures, 'from_pytorch.pth'), read(join(fixtures, 'gradients.pth')));
  });
});

describe.skipIf(!hasTorch)('with PyTorch at hand', () => {
  it('a checkpoint of ours goes on there as it does here, and comes back', () => {
    const state = begun();
    const [ours, given, theirs] = ['ours.pth', 'gradients.pth', 'theirs.pth'].map((name) =>
      join(folder, name),
    );
    saveCheckpoint(ours, state, { epoch: 2, step: 0, sums: {} }, {});
    writePth(given, gradients(state));
    const script = join(fixtures, 'continue_in_pytorch.py');
    const { status, stderr } = spawnSync(PYTHON, [script, ours, given, theirs], { encoding: 'utf8' });
    expect(stderr).not.toContain('Error');
    expect(status).toBe(0);
    step(state, read(given));
    const student = stateDictOf(entryOf(readPth(theirs), 'student'));
    expect(distance(state, student ?? new Map())).toBeLessThan(2e-6);
    expectGoesOn(theirs, read(given));
    if (process.env.ESVIT_WRITE_FIXTURES === '1') {
      writePth(join(fixtures, 'gradients.pth'), readPth(given));
      copyFileSync(theirs, join(fixtures, 'from_pytorch.pth'));
    }
  }, 180_000);
});
