/** The losses against the definition: one pair of views after the other, gradients by autograd. */

import { describe, expect, it } from 'vitest';
import { alone, type Collectives } from '../../src/dist/index.js';
import {
  type CropGroup,
  type LossOptions,
  type MultiCropOutput,
  matchRegions,
  teacherTempSchedule,
  ViewLoss,
  ViewRegionLoss,
} from '../../src/ssl/index.js';
import {
  backward,
  liveTensors,
  manualSeed,
  rand,
  randn,
  scope,
  type Tensor,
  tensor,
} from '../../src/torch/index.js';

const OUT = 7;
const DIM = 5;
const STUDENT_TEMP = 0.1;

const options: LossOptions = {
  outDim: OUT,
  warmupTeacherTemp: 0.04,
  teacherTemp: 0.1,
  warmupTeacherTempEpochs: 3,
  nepochs: 5,
};

const wide = (x: Tensor) => x.detach().to({ dtype: 'float64' });
const numbers = (x: Tensor) => Array.from(x.toArray(), Number);

function expectClose(mine: Tensor, expected: Tensor, tolerance = 5e-6): void {
  expect(mine.shape).toEqual(expected.shape);
  expect(scope(() => wide(mine).sub(wide(expected)).abs().max().item())).toBeLessThan(tolerance);
}

/** Outputs of `groups` of crops for `batch` pictures. */
function outputs(batch: number, groups: readonly CropGroup[], dense: boolean): MultiCropOutput {
  const views = groups.reduce((sum, group) => sum + group.views, 0);
  const tokens = groups.reduce((sum, group) => sum + group.views * group.regions * batch, 0);
  return {
    cls: randn([views * batch, OUT]),
    groups,
    ...(dense && { dense: { region: randn([tokens, OUT]), features: randn([tokens, DIM]) } }),
  };
}

/** log p for each row */
const logP = (logits: Tensor) => logits.div(STUDENT_TEMP).logSoftmax(-1);

/**
 * The losses as they are written down: for each pair of a teacher's view and another view of the student the
 * cross-entropy of the answers, and of each region with its most similar one of the teacher.
 */
function naive(
  student: MultiCropOutput,
  teacher: MultiCropOutput,
  batch: number,
  temperature: number,
  centers: { view: Tensor; region?: Tensor },
  targetsMixup?: readonly Tensor[],
): { loss: Tensor; gradients: Tensor[] } {
  const leaf = (x: Tensor) => {
    const copy = wide(x).clone();
    copy.requiresGrad = true;
    return copy;
  };
  const cls = leaf(student.cls);
  const region = student.dense && leaf(student.dense.region);
  const regions = student.groups.flatMap((group) => Array<number>(group.views).fill(group.regions));
  const starts = regions.map((_, v) => regions.slice(0, v).reduce((sum, n) => sum + n * batch, 0));
  const teacherRegions = teacher.groups[0].regions;
  const probabilities = (logits: Tensor, center: Tensor) =>
    wide(logits).sub(wide(center)).div(temperature).softmax(-1);

  const losses: Tensor[] = [];
  for (let t = 0; t < 2; t++)
    for (let v = 0; v < regions.length; v++) {
      if (v === t) continue;
      const q = probabilities(teacher.cls.narrow(0, t * batch, batch), centers.view);
      const logAnswers = logP(cls.narrow(0, v * batch, batch));
      const mix = targetsMixup?.[v];
      const rows =
        mix === undefined ? q.mul(logAnswers).sum([-1]) : wide(mix).mul(q.matmul(logAnswers.t())).sum([-1]);
      let pair = rows.neg().meanAll();
      if (region !== undefined && student.dense !== undefined && teacher.dense !== undefined) {
        const parts: Tensor[] = [];
        for (let b = 0; b < batch; b++) {
          const mine = student.dense.features.narrow(0, starts[v] + b * regions[v], regions[v]);
          const first = (t * batch + b) * teacherRegions;
          const theirs = teacher.dense.features.narrow(0, first, teacherRegions);
          const answers = probabilities(
            teacher.dense.region.narrow(0, first, teacherRegions),
            centers.region as Tensor,
          );
          for (let r = 0; r < regions[v]; r++) {
            const similarity = numbers(theirs.div(theirs.norm(2, [1], true)).matmul(mine.select(0, r)));
            const best = similarity.indexOf(Math.max(...similarity));
            const row = logP(region.select(0, starts[v] + b * regions[v] + r));
            parts.push(answers.select(0, best).mul(row).sumAll().neg());
          }
        }
        const mean = parts.reduce((a, b) => a.add(b)).div(parts.length);
        pair = pair.mul(0.5).add(mean.mul(0.5));
      }
      losses.push(pair);
    }
  const loss = losses.reduce((a, b) => a.add(b)).div(losses.length);
  loss.backward();
  return { loss, gradients: [cls, ...(region === undefined ? [] : [region])].map((x) => x.grad as Tensor) };
}

const globals: CropGroup = { views: 2, regions: 4 };

describe.each<[string, readonly CropGroup[]]>([
  ['two views', [globals]],
  ['local views', [globals, { views: 3, regions: 1 }]],
  ['local views of two sizes', [globals, { views: 2, regions: 2 }, { views: 1, regions: 3 }]],
])('of %s', (_, groups) => {
  const batch = 3;

  it.each([0, 2, 4])('the view loss is the mean over pairs, in epoch %d', (epoch) => {
    manualSeed(epoch);
    const loss = new ViewLoss(options);
    loss.center.copy_(randn([1, OUT]));
    const [student, teacher] = [outputs(batch, groups, false), outputs(batch, [globals], false)];
    const temperature = [0.04, 0.07, 0.1, 0.1, 0.1][epoch];
    const expected = naive(student, teacher, batch, temperature, { view: loss.center });
    const found = loss.forward(student, teacher, epoch);
    expectClose(found.loss, expected.loss, 1e-5);
    expect(found.roots).toEqual([student.cls]);
    expectClose(found.gradients[0], expected.gradients[0]);
  });

  it('the loss of both tasks has halves of both', () => {
    manualSeed(11);
    const loss = new ViewRegionLoss(options);
    loss.center.copy_(randn([1, OUT]));
    loss.centerGrid.copy_(randn([1, OUT]));
    const [student, teacher] = [outputs(batch, groups, true), outputs(batch, [globals], true)];
    const centers = { view: loss.center, region: loss.centerGrid };
    const expected = naive(student, teacher, batch, 0.1, centers);
    const found = loss.forward(student, teacher, 3);
    expectClose(found.loss, expected.loss, 1e-5);
    expect(found.roots).toEqual([student.cls, student.dense?.region]);
    for (const [i, gradient] of found.gradients.entries()) expectClose(gradient, expected.gradients[i]);
  });

  it('mixed targets weigh pictures of the batch', () => {
    manualSeed(12);
    const loss = new ViewLoss(options);
    const [student, teacher] = [outputs(batch, groups, false), outputs(batch, [globals], false)];
    const crops = groups.reduce((sum, { views }) => sum + views, 0);
    const mix = Array.from({ length: crops }, () => rand([batch, batch]));
    const expected = naive(student, teacher, batch, 0.04, { view: loss.center }, mix);
    const found = loss.forward(
      student,
      teacher,
      0,
      mix.map((targets) => ({ targets, smoothing: 0 })),
    );
    expectClose(found.loss, expected.loss, 1e-5);
    expectClose(found.gradients[0], expected.gradients[0]);
  });

  it('targets that mix nothing change nothing', () => {
    manualSeed(13);
    const loss = new ViewLoss(options);
    const [student, teacher] = [outputs(batch, groups, false), outputs(batch, [globals], false)];
    const crops = groups.reduce((sum, { views }) => sum + views, 0);
    const same = Array.from({ length: crops }, () => ({
      targets: tensor([
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
      ]),
      smoothing: 0,
    }));
    expectClose(loss.forward(student, teacher, 0, same).loss, loss.forward(student, teacher, 0).loss);
  });
});

it('the gradient is that of autograd through the whole network', () => {
  manualSeed(14);
  const loss = new ViewLoss(options);
  const teacher = outputs(2, [globals], false);
  const weight = randn([3, OUT]);
  weight.requiresGrad = true;
  const x = randn([4, 3]);
  const student: MultiCropOutput = { cls: x.matmul(weight), groups: [globals] };
  const { roots, gradients } = loss.forward(student, teacher, 0);
  backward(roots, gradients);
  const expected = naive(student, teacher, 2, 0.04, { view: loss.center });
  expectClose(weight.grad as Tensor, x.t().matmul(expected.gradients[0].to({ dtype: 'float32' })), 1e-5);
});

it('logits of any size give a finite loss', () => {
  const loss = new ViewLoss(options);
  const huge = (sign: number): MultiCropOutput => ({
    cls: tensor(
      [0, 1]
        .flatMap(() => [[sign * 1e4, 0, 0, 0, 0, 0, -1e4]])
        .concat([
          [0, 0, 0, 0, 0, 0, 0],
          [1, 2, 3, 4, 5, 6, 7],
        ]),
    ),
    groups: [globals],
  });
  const { loss: value, gradients } = loss.forward(huge(1), huge(-1), 0);
  expect(Number.isFinite(value.item())).toBe(true);
  expect(numbers(gradients[0]).every(Number.isFinite)).toBe(true);
});

it('region matching needs regions', () => {
  const loss = new ViewRegionLoss(options);
  const views = () => outputs(1, [globals], false);
  expect(() => loss.forward(views(), views(), 0)).toThrow(/dense head/);
});

describe('centres', () => {
  const teacher = (batch: number): MultiCropOutput => outputs(batch, [globals], true);
  const student = (batch: number): MultiCropOutput => outputs(batch, [globals], true);
  const moved = (center: Tensor, rows: Tensor, momentum = 0.9) =>
    center.mul(momentum).add(rows.mean([0], true).mul(1 - momentum));

  it('move towards the mean of the teacher, after the step', () => {
    manualSeed(20);
    const loss = new ViewRegionLoss(options);
    loss.center.copy_(randn([1, OUT]));
    const [center, centerGrid] = [loss.center.clone(), loss.centerGrid.clone()];
    const said = teacher(3);
    loss.forward(student(3), said, 0);
    expectClose(loss.center, center, 1e-12);
    loss.updateCenters();
    expectClose(loss.center, moved(center, said.cls));
    expectClose(loss.centerGrid, moved(centerGrid, said.dense?.region as Tensor));
  });

  it('count every row once, over batches of different sizes', () => {
    manualSeed(21);
    const loss = new ViewLoss({ ...options, centerMomentum: 0.5 });
    const parts = [teacher(1), teacher(4)];
    for (const [i, part] of parts.entries()) loss.forward(student([1, 4][i]), part, 0);
    loss.updateCenters();
    const rows = tensor(
      parts.flatMap(({ cls }) => numbers(cls)),
      { shape: [10, OUT] },
    );
    expectClose(loss.center, moved(tensor([Array(OUT).fill(0)]), rows, 0.5));
  });

  it('move once for each step', () => {
    const loss = new ViewLoss(options);
    loss.forward(student(2), teacher(2), 0);
    loss.updateCenters();
    const after = numbers(loss.center);
    loss.updateCenters();
    expect(numbers(loss.center)).toEqual(after);
  });

  it('forget what was said in a step that is not taken', () => {
    manualSeed(22);
    const loss = new ViewRegionLoss(options);
    loss.forward(student(2), teacher(2), 0);
    loss.dropCollected();
    loss.updateCenters();
    expect(numbers(loss.center)).toEqual(Array(OUT).fill(0));
    const said = teacher(2);
    loss.forward(student(2), said, 0);
    loss.updateCenters();
    expectClose(loss.center, moved(tensor([Array(OUT).fill(0)]), said.cls));
    expectClose(loss.centerGrid, moved(tensor([Array(OUT).fill(0)]), said.dense?.region as Tensor));
  });

  it('are the same in all processes', () => {
    manualSeed(23);
    const parts = [teacher(3), teacher(3)];
    const sums = parts.map(({ cls }) => cls.sum([0], true));
    const centers = parts.map((part, rank) => {
      const collectives: Collectives = {
        ...alone,
        rank,
        worldSize: 2,
        allReduceSum(x) {
          x.add_(sums[1 - rank]);
        },
      };
      const loss = new ViewLoss({ ...options, collectives });
      loss.forward(student(3), part, 0);
      loss.updateCenters();
      return loss.center;
    });
    expectClose(centers[0], centers[1]);
    const rows = tensor(
      parts.flatMap(({ cls }) => numbers(cls)),
      { shape: [12, OUT] },
    );
    expectClose(centers[0], moved(tensor([Array(OUT).fill(0)]), rows));
  });

  it('are what a checkpoint keeps', () => {
    expect([...new ViewLoss(options).stateDict().keys()]).toEqual(['center']);
    expect([...new ViewRegionLoss(options).stateDict().keys()]).toEqual(['center', 'center_grid']);
  });
});

describe('teacher temperature', () => {
  const schedule = (warmupTeacherTempEpochs: number, nepochs: number) =>
    [
      ...teacherTempSchedule({ warmupTeacherTemp: 0.04, teacherTemp: 0.1, warmupTeacherTempEpochs, nepochs }),
    ].map((value) => Number(value.toFixed(12)));

  it.each([
    [3, 5, [0.04, 0.07, 0.1, 0.1, 0.1]],
    [0, 3, [0.1, 0.1, 0.1]],
    [1, 3, [0.04, 0.1, 0.1]],
    [4, 2, [0.04, 0.06]],
  ])('with %d epochs of warm-up in %d', (warmup, epochs, expected) => {
    expect(schedule(warmup, epochs)).toEqual(expected);
  });

  it('stays after the last epoch', () => {
    expect(new ViewLoss(options).temperature(99)).toBe(0.1);
  });
});

describe('matchRegions', () => {
  it('finds the nearest direction in each teacher view, within the same picture', () => {
    // two pictures, one student view of two regions; the teacher has two views of two regions
    const student = tensor([
      [1, 0],
      [0, 5],
      [-1, 0],
      [3, 3.1],
    ]);
    const teacher = tensor([
      [1, 0],
      [0, 1], // view 0, picture 0
      [0, 1],
      [-1, 0], // view 0, picture 1
      [0, 1],
      [1, 0], // view 1, picture 0
      [0.6, 0.8],
      [1, 0], // view 1, picture 1
    ]);
    const [first, second] = matchRegions(student, teacher, 2, 1).map(numbers);
    expect(first).toEqual([0, 1, 3, 2]);
    expect(second).toEqual([5, 4, 6, 6]);
  });
});

it('leaves no tensors behind but what it gives', () => {
  const loss = new ViewRegionLoss(options);
  const groups = [globals, { views: 2, regions: 1 }];
  const [student, teacher] = [outputs(2, groups, true), outputs(2, [globals], true)];
  const before = liveTensors();
  scope(() => {
    loss.forward(student, teacher, 0);
  });
  expect(liveTensors()).toBe(before + 2); // the sums for the two centres
  loss.updateCenters();
  expect(liveTensors()).toBe(before);
});
