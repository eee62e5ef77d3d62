/** Logistic regression: its solution is the optimum, by autograd's word. */

import { describe, expect, it } from 'vitest';
import { fitLogistic, type LabelledBatch, logisticAccuracy } from '../../src/eval/index.js';
import {
  liveTensors,
  manualSeed,
  randn,
  scope,
  setThreads,
  type Tensor,
  tensor,
} from '../../src/torch/index.js';

setThreads(1);

/** Overlapping clouds, one feature far from zero, one that does not vary. */
function clouds(rows: number, classes: number): LabelledBatch {
  manualSeed(rows);
  const labels = Array.from({ length: rows }, (_, i) => (i * 5) % classes);
  const features = randn([rows, 6]);
  for (const [row, label] of labels.entries()) features.select(0, row).select(0, label).add_(1.5);
  features.select(1, 4).mul_(100).add_(1000);
  features.select(1, 5).fill_(7);
  return { features, labels: tensor(BigInt64Array.from(labels, BigInt)) };
}

/** The same objective for autograd, in float64. */
function objective(
  { features, labels }: LabelledBatch,
  mean: Tensor,
  scale: Tensor,
  weight: Tensor,
  cost: number,
) {
  const rows = features.sub(mean).div(scale).to({ dtype: 'float64' });
  const matrix = weight.narrow(1, 0, rows.shape[1]);
  const logits = rows.matmul(matrix.t()).add(weight.select(1, rows.shape[1]));
  const loss = logits.logSoftmax(1).gather(1, labels.unsqueeze(1)).meanAll().neg();
  return loss.add(
    matrix
      .square()
      .sumAll()
      .mul(1 / (2 * cost * labels.numel)),
  );
}

describe.each([
  { classes: 2, cost: 1 },
  { classes: 4, cost: 0.05 },
  { classes: 4, cost: 100 },
])('$classes classes, C = $cost', ({ classes, cost }) => {
  it('the gradient at the solution is zero, and its value is the smallest around', () => {
    const table = clouds(120, classes);
    const {
      mean,
      scale,
      weight,
      objective: value,
      converged,
    } = fitLogistic(table, { numLabels: classes, cost });
    expect(converged).toBe(true);
    const leaf = weight.clone();
    leaf.requiresGrad = true;
    const loss = objective(table, mean, scale, leaf, cost);
    loss.backward();
    expect(loss.item()).toBeCloseTo(value, 5);
    expect((leaf.grad as Tensor).abs().max().item()).toBeLessThan(3e-5);
    manualSeed(9);
    const elsewhere = weight.add(randn([...weight.shape]).mul(0.1));
    expect(objective(table, mean, scale, elsewhere, cost).item()).toBeGreaterThan(value);
  });
});

it('standardises, and lets a feature without variation be', () => {
  const table = clouds(120, 4);
  const { mean, scale, weight } = fitLogistic(table, { numLabels: 4, cost: 1 });
  expect(mean.select(0, 4).item()).toBeGreaterThan(900);
  expect(scale.select(0, 5).item()).toBe(1);
  expect(weight.select(1, 5).abs().max().item()).toBeLessThan(1e-6);
});

it('goes on from another solution to the same optimum', () => {
  const table = clouds(120, 4);
  const start = fitLogistic(table, { numLabels: 4, cost: 0.1 });
  const warm = fitLogistic(table, { numLabels: 4, cost: 1, start });
  const cold = fitLogistic(table, { numLabels: 4, cost: 1 });
  expect(warm.objective).toBeCloseTo(cold.objective, 5);
});

it('counts right answers among the first and the first five', () => {
  const table = clouds(200, 4);
  const model = fitLogistic(table, { numLabels: 4, cost: 1 });
  const { acc1, acc5 } = logisticAccuracy(model, table);
  expect(acc1).toBeGreaterThan(55); // chance is 25
  expect(acc1).toBeLessThan(100);
  expect(acc5).toBe(100);
});

it('leaves no tensors behind', () => {
  const table = clouds(60, 3);
  const before = liveTensors();
  scope(() => {
    fitLogistic(table, { numLabels: 3, cost: 1 });
  });
  expect(liveTensors()).toBe(before);
});
