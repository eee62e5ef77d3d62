/** Optimisation steps: what moves and what must not, also where numbers are not finite. */

import { describe, expect, it } from 'vitest';
import { alone } from '../../src/dist/index.js';
import { GradScaler } from '../../src/optim/index.js';
import { Contrast } from '../../src/ssl/index.js';
import { liveTensors, scope, type Tensor } from '../../src/torch/index.js';
import { type StepBatch, type StepResult, type StepState, trainStep } from '../../src/train/index.js';
import { type MicroOptions, microBatch, microState } from './micro.js';

type Settings = Parameters<typeof trainStep>[3];

const settings: Settings = {
  epoch: 1,
  lr: 0.01,
  weightDecay: 0.1,
  momentum: 0.9,
  clipGrad: 3,
  freezeLastLayer: false,
  precision: 'float32',
};

const step = (state: StepState, batches: readonly StepBatch[], more: Partial<Settings> = {}): StepResult =>
  scope(() => trainStep(state, batches, batches.length, { ...settings, ...more }));

/** Every number of a state, by name. */
function everything({ student, teacher, loss, optimizer }: StepState): Map<string, number[]> {
  const result = new Map<string, number[]>();
  for (const [part, module] of Object.entries({ student, teacher, loss }))
    for (const [name, value] of module.stateDict()) result.set(`${part}.${name}`, numbers(value));
  for (const [number, own] of optimizer.stateDict().state)
    for (const [name, value] of Object.entries(own))
      result.set(`optimizer.${number}.${name}`, typeof value === 'number' ? [value] : numbers(value));
  return result;
}

const numbers = (x: Tensor) => Array.from(x.toArray(), Number);

const changed = (before: Map<string, number[]>, after: Map<string, number[]>) =>
  [...after].filter(([name, values]) => values.join() !== before.get(name)?.join()).map(([name]) => name);

function broken(seed: number): StepBatch {
  const batch = microBatch(seed);
  batch.crops[0].narrow(0, 0, 1).fill_(Number.NaN);
  return batch;
}

const hasGradients = ({ student }: StepState) => student.parameters().some(({ grad }) => grad !== null);

describe('a step that also tells pictures apart', () => {
  const contrasted = () => ({ ...microState(), contrast: new Contrast(1, 0.2, alone) });

  it('reports the loss of the paper and the contrast each by itself, and moves the backbone by both', () => {
    const [plain, more] = [microState(), contrasted()];
    const first = step(plain, [microBatch(1)]);
    const second = step(more, [microBatch(1)]);
    expect(first.contrast).toBeUndefined();
    expect(second.loss).toBe(first.loss);
    // two pictures with two views each: one right answer of three, nearly nothing known at the start
    expect(Math.abs((second.contrast as number) - Math.log(3))).toBeLessThan(3);
    const name = 'layers.0.blocks.0.mlp.fc1.weight';
    expect(second.gradientNorms.get(name)).not.toBe(first.gradientNorms.get(name));
  });

  it('learns to tell them apart', () => {
    const state = contrasted();
    const values = Array.from({ length: 30 }, () => step(state, [microBatch(1, 4)]).contrast as number);
    expect(values[29]).toBeLessThan(0.8 * values[0]);
  });

  it('is not taken where the contrast is not finite', () => {
    const state = { ...contrasted(), contrast: new Contrast(1, Number.NaN, alone) };
    const before = everything(state);
    const { taken, loss } = step(state, [microBatch(1)]);
    expect([taken, Number.isFinite(loss)]).toEqual([false, false]);
    expect(changed(before, everything(state))).toEqual([]);
  });
});

describe('a step', () => {
  it('moves student, teacher and centres, and leaves no gradients', () => {
    const state = microState();
    const before = everything(state);
    const { taken, loss, gradientNorms } = step(state, [microBatch(1)]);
    expect([taken, Number.isFinite(loss)]).toEqual([true, true]);
    const moved = changed(before, everything(state));
    for (const part of ['student.', 'teacher.', 'loss.', 'optimizer.'])
      expect(moved.some((name) => name.startsWith(part))).toBe(true);
    expect([...gradientNorms.keys()]).toEqual([...state.student.namedParameters().keys()]);
    expect(hasGradients(state)).toBe(false);
  });

  it('lets the loss fall on one batch, for each optimisation of it', () => {
    const state = microState();
    const batch = microBatch(2, 4);
    const losses = Array.from({ length: 12 }, () => step(state, [batch], { momentum: 1, epoch: 3 }).loss);
    expect(losses[11]).toBeLessThan(losses[0]);
  });

  it('leaves the last layers of the heads as they are while they are frozen', () => {
    const state = microState();
    const before = everything(state);
    step(state, [microBatch(3)], { freezeLastLayer: true });
    const moved = changed(before, everything(state)).filter((name) => name.startsWith('student.'));
    expect(moved.length).toBeGreaterThan(10);
    expect(moved.filter((name) => name.includes('last_layer'))).toEqual([]);
  });

  it('decays matrices only', () => {
    const state = microState();
    step(state, [microBatch(4)]);
    const [decayed, others] = state.optimizer.groups;
    expect([decayed.weightDecay, others.weightDecay]).toEqual([0.1, 0]);
    expect([decayed.lr, others.lr]).toEqual([0.01, 0.01]);
  });

  it('shows the outputs of each batch', () => {
    const state = microState();
    const seen: number[][] = [];
    scope(() =>
      trainStep(state, [microBatch(5, 1), microBatch(6, 3)], 2, settings, ({ student, teacher }) => {
        seen.push([student.cls.shape[0], teacher.cls.shape[0]]);
      }),
    );
    expect(seen).toEqual([
      [4, 2],
      [12, 6],
    ]);
  });
});

describe('a step that is not finite', () => {
  const cases: [string, MicroOptions][] = [
    ['both tasks', {}],
    ['views', { dense: false }],
  ];

  it.each(cases)('is not taken and leaves no trace: %s', (_, options) => {
    const state = microState(options);
    step(state, [microBatch(1)]);
    const before = everything(state);
    const { taken, loss, gradientNorms } = step(state, [broken(2)]);
    expect([taken, loss, gradientNorms.size]).toEqual([false, Number.NaN, 0]);
    expect(changed(before, everything(state))).toEqual([]);
    expect(hasGradients(state)).toBe(false);
  });

  it.each(cases)('in its second batch is not taken either: %s', (_, options) => {
    const state = microState(options);
    step(state, [microBatch(1)]);
    const before = everything(state);
    expect(step(state, [microBatch(2), broken(3)]).taken).toBe(false);
    expect(changed(before, everything(state))).toEqual([]);
    expect(hasGradients(state)).toBe(false);
  });

  it.each(cases)('does not change the steps that follow: %s', (_, options) => {
    const [state, other] = [microState(options), microState(options)];
    step(state, [microBatch(1)]);
    step(state, [microBatch(2), broken(3)]);
    step(state, [microBatch(4)]);
    step(other, [microBatch(1)]);
    step(other, [microBatch(4)]);
    expect(changed(everything(other), everything(state))).toEqual([]);
  });

  it('leaves no tensors behind', () => {
    const state = microState();
    step(state, [microBatch(1)]);
    step(state, [broken(2)]);
    const before = liveTensors();
    scope(() => step(state, [microBatch(3), broken(4)]));
    expect(liveTensors()).toBe(before);
  });
});

describe('loss scaling', () => {
  it('changes nothing but rounding', () => {
    const [plain, scaled] = [microState(), { ...microState(), scaler: new GradScaler() }];
    const norms = [plain, scaled].map((state) => step(state, [microBatch(1)], { clipGrad: 0 }).gradientNorms);
    for (const [name, norm] of norms[0])
      expect(Math.abs((norms[1].get(name) ?? 0) - norm)).toBeLessThan(1e-5 * norm + 1e-9);
    expect(scaled.scaler.stateDict()._growth_tracker).toBe(1);
  });

  it('leaves the step out where a gradient overflows, and halves', () => {
    const state = { ...microState(), scaler: new GradScaler() };
    step(state, [microBatch(1)]);
    state.scaler.scale = 2 ** 127;
    const before = everything(state);
    const { taken, loss } = step(state, [microBatch(2)]);
    expect([taken, Number.isFinite(loss)]).toEqual([false, true]);
    expect(state.scaler.scale).toBe(2 ** 126);
    expect(changed(before, everything(state))).toEqual([]);
    expect(hasGradients(state)).toBe(false);
  });
});

it('random drop paths draw from the default generator alone', () => {
  const runs = [0, 1].map(() => {
    const state = microState({ dropPathRate: 0.5 });
    step(state, [microBatch(9)]);
    return everything(state);
  });
  expect(changed(runs[0], runs[1])).toEqual([]);
});
