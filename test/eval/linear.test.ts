/** Softmax regression by SGD: one pass for many settings, exact resuming, accuracies that can be counted. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import {
  batchesOf,
  type LabelledBatch,
  LinearProbes,
  loadLinear,
  type ProbeSetting,
  saveLinear,
} from '../../src/eval/index.js';
import {
  liveTensors,
  manualSeed,
  randn,
  scope,
  setThreads,
  type Tensor,
  tensor,
} from '../../src/torch/index.js';
import { entryOf, readPth, stateDictOf } from '../../src/weights/index.js';

setThreads(1);

const folder = mkdtempSync(join(tmpdir(), 'esvit-linear-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const numbers = (x: Tensor) => Array.from(x.toArray(), Number);
const labelsOf = (values: number[]) => tensor(BigInt64Array.from(values, BigInt));

/** Rows of three classes; the last `width` columns tell them apart, the columns before are noise. */
function data(rows: number, width = 4, noise = 2): LabelledBatch {
  manualSeed(rows);
  const classes = Array.from({ length: rows }, (_, i) => (i * 7) % 3);
  const features = randn([rows, noise + width]);
  for (const [row, label] of classes.entries())
    features
      .select(0, row)
      .select(0, noise + label)
      .add_(4);
  return { features, labels: labelsOf(classes) };
}

const EPOCHS = 4;
const WIDTHS = new Map([
  [1, 4],
  [2, 6],
]);

function probesOf(settings: ProbeSetting[], numLabels = 3): LinearProbes {
  return new LinearProbes({ settings, widths: WIDTHS, numLabels, epochs: EPOCHS, seed: 1 });
}

function train(probes: LinearProbes, from: number, to: number): number[][] {
  const losses: number[][] = [];
  for (let epoch = from; epoch < to; epoch++)
    for (const batch of batchesOf(data(48), 16)) losses.push(probes.step(batch, epoch));
  return losses;
}

const SETTINGS: ProbeSetting[] = [
  { blocks: 1, lr: 0.1 },
  { blocks: 2, lr: 0.5 },
  { blocks: 1, lr: 0.01 },
];

describe('a step', () => {
  it('follows the gradient that autograd finds', () => {
    const probes = probesOf([{ blocks: 2, lr: 0.3 }]);
    const batch = data(10);
    const own = probes.state(0);
    const weight = own.weight.clone();
    const bias = own.bias.clone();
    weight.requiresGrad = true;
    bias.requiresGrad = true;
    const logits = batch.features.matmul(weight.t()).add(bias);
    const loss = logits.logSoftmax(1).gather(1, batch.labels.unsqueeze(1)).meanAll().neg();
    loss.backward();
    const [found] = probes.step(batch, 0);
    expect(found).toBeCloseTo(loss.item(), 5);
    for (const [mine, buffer, leaf] of [
      [own.weight, own.momentumWeight, weight],
      [own.bias, own.momentumBias, bias],
    ] as const) {
      const gradient = leaf.grad as Tensor;
      expect(buffer.sub(gradient).abs().max().item()).toBeLessThan(1e-6);
      expect(
        mine
          .sub(leaf.detach().sub(gradient.mul(0.3)))
          .abs()
          .max()
          .item(),
      ).toBeLessThan(1e-6);
    }
  });

  it('of many settings is the same as of each alone', () => {
    const together = probesOf(SETTINGS);
    const losses = train(together, 0, EPOCHS);
    for (const [i, setting] of SETTINGS.entries()) {
      const alone = probesOf([setting]);
      const own = train(alone, 0, EPOCHS);
      for (const [step, [loss]] of own.entries()) expect(losses[step][i]).toBeCloseTo(loss, 5);
      expect(together.state(i).weight.sub(alone.state(0).weight).abs().max().item()).toBeLessThan(1e-5);
    }
  });

  it('leaves no tensors behind', () => {
    const probes = probesOf(SETTINGS);
    const batch = data(8);
    probes.step(batch, 0);
    const before = liveTensors();
    scope(() => probes.step(batch, 0));
    expect(liveTensors()).toBe(before);
  });
});

it('classes that are apart are learnt, and the last columns are what fewer blocks see', async () => {
  const probes = probesOf(SETTINGS);
  train(probes, 0, EPOCHS);
  const results = await probes.validate(batchesOf(data(30), 7));
  expect(results.map(({ acc1 }) => acc1 > 90)).toEqual([true, true, true]);
  expect(results.map(({ acc5 }) => acc5)).toEqual([100, 100, 100]); // three classes are all among five
});

it('accuracies count rows, losses count batches', async () => {
  const probes = probesOf([{ blocks: 1, lr: 0.1 }], 7);
  const { weight } = probes.state(0);
  scope(() => {
    weight.zero_();
    for (let label = 0; label < 7; label++) weight.select(0, label).select(0, 0).fill_(-label);
  });
  // The first of the four columns is 1: class 0 is the most likely, class 6 the least.
  const features = tensor(Array.from({ length: 4 }, () => [0, 0, 1, 0, 0, 0]));
  const table = { features, labels: labelsOf([0, 4, 5, 6]) };
  const [{ loss, acc1, acc5 }] = await probes.validate(batchesOf(table, 3));
  expect([acc1, acc5]).toEqual([25, 50]);
  const normaliser = Math.log(Array.from({ length: 7 }, (_, i) => Math.exp(-i)).reduce((a, b) => a + b));
  const each = [0, 4, 5, 6].map((label) => normaliser + label);
  expect(loss).toBeCloseTo(((each[0] + each[1] + each[2]) / 3 + each[3]) / 2, 5);
});

describe('a checkpoint', () => {
  const subject = 'swin';

  it('goes on as if nothing had happened, for all settings', () => {
    const path = join(folder, 'several.pth.tar');
    const whole = probesOf(SETTINGS);
    train(whole, 0, EPOCHS);
    const first = probesOf(SETTINGS);
    train(first, 0, 2);
    saveLinear(path, first, { epoch: 2, best: [10, 90.5, 20], subject }, EPOCHS);
    const second = probesOf(SETTINGS);
    const progress = loadLinear(path, second, { epochs: EPOCHS, subject });
    expect(progress).toEqual({ epoch: 2, best: [10, 90.5, 20], subject });
    train(second, 2, EPOCHS);
    for (const i of SETTINGS.keys())
      expect(numbers(second.state(i).weight)).toEqual(numbers(whole.state(i).weight));
  });

  it('holds the best classifier where the original looks for the only one, which can be gone on with', () => {
    const path = join(folder, 'best.pth.tar');
    const probes = probesOf(SETTINGS);
    train(probes, 0, 1);
    saveLinear(path, probes, { epoch: 1, best: [10, 20, 30], subject }, EPOCHS);
    const content = readPth(path);
    const state = stateDictOf(entryOf(content, 'state_dict'));
    expect([...(state?.keys() ?? [])]).toEqual(['module.linear.weight', 'module.linear.bias']);
    expect(numbers(state?.get('module.linear.weight') as Tensor)).toEqual(numbers(probes.state(2).weight));
    expect([...(content as Map<string, unknown>).keys()].slice(0, 5)).toEqual([
      'epoch',
      'state_dict',
      'optimizer',
      'scheduler',
      'best_acc',
    ]);
  });

  it('of other settings, another network or another length is refused', () => {
    const path = join(folder, 'other.pth.tar');
    saveLinear(path, probesOf(SETTINGS), { epoch: 1, best: [1, 2, 3], subject }, EPOCHS);
    const attempt = (settings: ProbeSetting[], epochs: number, of: string) => () =>
      loadLinear(path, probesOf(settings), { epochs, subject: of });
    expect(attempt(SETTINGS.slice(1), EPOCHS, subject)).toThrow(UserError);
    expect(attempt(SETTINGS.slice(1), EPOCHS, subject)).toThrow(/holds classifiers of .*lr 0\.1/);
    expect(attempt(SETTINGS, 9, subject)).toThrow(/--epochs 4, now it is 9/);
    expect(attempt(SETTINGS, EPOCHS, 'vit')).toThrow(/is of swin, now it is vit/);
  });
});
