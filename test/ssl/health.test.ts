/** Measures of health on outputs whose measures are known, and the verdict for each kind of trouble. */

import { describe, expect, it } from 'vitest';
import {
  diagnose,
  featureSpread,
  type Health,
  type HealthContext,
  type MultiCropOutput,
  measureHealth,
  type Verdict,
  ViewLoss,
} from '../../src/ssl/index.js';
import {
  eye,
  liveTensors,
  manualSeed,
  ones,
  randn,
  scope,
  type Tensor,
  tensor,
  zeros,
} from '../../src/torch/index.js';

const OUT = 8;

const loss = new ViewLoss({
  outDim: OUT,
  warmupTeacherTemp: 0.05,
  teacherTemp: 0.05,
  warmupTeacherTempEpochs: 0,
  nepochs: 1,
});

const output = (cls: Tensor, pooled: Tensor = randn([cls.shape[0], 4])): MultiCropOutput => ({
  cls,
  pooled,
  groups: [{ views: 2, regions: 0 }],
});

/** Row i is sure of answer `answers[i]`. */
function sure(answers: readonly number[]): Tensor {
  return tensor(answers.map((answer) => Array.from({ length: OUT }, (_, j) => (j === answer ? 10 : 0))));
}

const measure = (student: MultiCropOutput, teacher: MultiCropOutput) =>
  measureHealth(student, teacher, loss, 0);

describe('measureHealth', () => {
  it('of a teacher without opinion: entropies of ln K', () => {
    const { teacherEntropy, studentEntropy, answerSpread, kl } = measure(
      output(zeros([4, OUT])),
      output(zeros([4, OUT])),
    );
    for (const value of [teacherEntropy, studentEntropy, answerSpread])
      expect(value).toBeCloseTo(Math.log(OUT), 5);
    expect(kl).toBeCloseTo(0, 5);
  });

  it('of one answer for all: no entropy, no spread', () => {
    const { teacherEntropy, answerSpread } = measure(output(zeros([4, OUT])), output(sure([3, 3, 3, 3])));
    expect(teacherEntropy).toBeCloseTo(0, 5);
    expect(answerSpread).toBeCloseTo(0, 5);
  });

  it('of sure answers that differ: no entropy, but spread', () => {
    const { teacherEntropy, answerSpread, kl } = measure(output(zeros([4, OUT])), output(sure([0, 1, 2, 3])));
    expect(teacherEntropy).toBeCloseTo(0, 5);
    expect(answerSpread).toBeCloseTo(Math.log(4), 5);
    expect(kl).toBeCloseTo(Math.log(OUT), 5);
  });

  it('takes the centre off, and looks at the same global views of the student only', () => {
    loss.center.copy_(tensor([[10, 0, 0, 0, 0, 0, 0, 0]]));
    try {
      const student = { ...output(zeros([10, OUT])), groups: [{ views: 5, regions: 0 }] };
      const { teacherEntropy, centerNorm } = measure(student, output(sure([0, 0, 0, 0])));
      expect(teacherEntropy).toBeCloseTo(Math.log(OUT), 5);
      expect(centerNorm).toBe(10);
    } finally {
      loss.center.zero_();
    }
  });

  it('leaves no tensors behind', () => {
    const [student, teacher] = [output(randn([6, OUT])), output(randn([4, OUT]))];
    const before = liveTensors();
    measure(student, teacher);
    expect(liveTensors()).toBe(before);
  });
});

describe('featureSpread', () => {
  it('of equal features is none', () => {
    const { featureStd, effectiveRank } = featureSpread(ones([6, 5]).mul(3));
    expect(featureStd).toBeCloseTo(0, 6);
    expect(effectiveRank).toBeCloseTo(1, 2);
  });

  it('does not depend on their lengths', () => {
    manualSeed(1);
    const features = randn([6, 5]);
    const scaled = features.mul(tensor([[1], [2], [3], [40], [5], [0.1]]));
    expect(featureSpread(scaled).effectiveRank).toBeCloseTo(featureSpread(features).effectiveRank, 4);
    expect(featureSpread(scaled).featureStd).toBeCloseTo(featureSpread(features).featureStd, 5);
  });

  it('of features along one line through the origin is of rank 1', () => {
    const { effectiveRank, featureStd } = featureSpread(
      tensor([
        [1, 2, 3],
        [-1, -2, -3],
        [2, 4, 6],
        [-2, -4, -6],
      ]),
    );
    expect(effectiveRank).toBeCloseTo(1, 2);
    expect(featureStd).toBeGreaterThan(0.9);
  });

  it.each([
    [5, 5],
    [5, 40],
  ])('of %d orthogonal features of %d dimensions: all but the mean', (rows, width) => {
    // the centred ones have rows - 1 equal singular values
    expect(featureSpread(scope(() => eye(width).narrow(0, 0, rows))).effectiveRank).toBeCloseTo(rows - 1, 2);
  });

  it('near 1 for features that point everywhere', () => {
    manualSeed(2);
    expect(featureSpread(randn([2000, 16])).featureStd).toBeCloseTo(1, 1);
  });
});

describe('diagnose', () => {
  const most = Math.log(OUT);
  const good: Health = {
    teacherEntropy: 0.5 * most,
    studentEntropy: 0.6 * most,
    kl: 0.3,
    answerSpread: 0.8 * most,
    centerNorm: 1,
    featureStd: 0.7,
    effectiveRank: 10,
  };
  const context: HealthContext = {
    loss: 0.8 * most,
    outDim: OUT,
    gradientNorm: 1,
    step: 500,
    warmupSteps: 100,
  };

  it.each<[string, Partial<Health>, Partial<HealthContext>, Verdict]>([
    ['all is well', {}, {}, 'healthy'],
    ['the loss is not a number', {}, { loss: Number.NaN }, 'diverging'],
    ['the loss is infinite', {}, { loss: Infinity }, 'diverging'],
    ['a gradient is not finite', {}, { gradientNorm: Infinity }, 'diverging'],
    ['the loss is beyond anything', {}, { loss: 2 * most }, 'diverging'],
    ['every picture has one answer', { answerSpread: 0.01 }, {}, 'one-dimension collapse'],
    ['every picture has one feature', { featureStd: 0.001 }, {}, 'one-dimension collapse'],
    ['the teacher has no opinion', { teacherEntropy: 0.99 * most }, {}, 'uniform collapse'],
    ['the same in the warm-up', { teacherEntropy: 0.99 * most }, { step: 50 }, 'healthy'],
    ['the loss stays at the top', {}, { loss: 0.99 * most }, 'not learning yet'],
    ['the same at the start', {}, { loss: 0.99 * most, step: 3 }, 'not learning yet'],
    // what is worse is said first
    ['it diverges and collapses', { featureStd: 0 }, { loss: Number.NaN }, 'diverging'],
    ['it collapses in both ways', { featureStd: 0, teacherEntropy: most }, {}, 'one-dimension collapse'],
  ])('when %s', (_, health, more, verdict) => {
    const { verdict: found, hint } = diagnose({ ...good, ...health }, { ...context, ...more });
    expect(found).toBe(verdict);
    const early = (more.step ?? context.step) <= 2 * context.warmupSteps;
    expect(hint !== '').toBe(!(verdict === 'healthy' || (verdict === 'not learning yet' && early)));
  });

  it('says what to change, by the names of flags', () => {
    for (const [health, more] of [
      [{}, { loss: Number.NaN }],
      [{ featureStd: 0 }, {}],
      [{ teacherEntropy: most }, {}],
      [{}, { loss: most }],
    ] as const)
      expect(diagnose({ ...good, ...health }, { ...context, ...more }).hint).toMatch(/--[a-z_]+/);
  });

  it('follows the measures: a constant network is found out', () => {
    const same = output(sure([1, 1, 1, 1]), ones([4, 6]));
    expect(diagnose(measure(same, same), context).verdict).toBe('one-dimension collapse');
    manualSeed(3);
    const flat = output(randn([4, OUT]).mul(1e-4), randn([4, 6]));
    expect(diagnose(measure(flat, flat), context).verdict).toBe('uniform collapse');
    const fine = output(sure([0, 1, 2, 3]), randn([4, 6]));
    expect(diagnose(measure(fine, fine), context).verdict).toBe('healthy');
  });
});
