/** The losses of mixed pictures against their definition, one region after the other, gradients by autograd. */

import { describe, expect, it } from 'vitest';
import type { MixedPicture } from '../../src/data/index.js';
import {
  type CropGroup,
  type CropMixing,
  cropMixing,
  type LossOptions,
  type MultiCropOutput,
  ownShares,
  ViewRegionLoss,
} from '../../src/ssl/index.js';
import { liveTensors, manualSeed, randn, scope, type Tensor } from '../../src/torch/index.js';

const OUT = 7;
const DIM = 5;
const BATCH = 4;
const SIZE = 12;
const TEACHER_TEMP = 0.05;
const STUDENT_TEMP = 0.1;
const options: LossOptions = {
  outDim: OUT,
  warmupTeacherTemp: TEACHER_TEMP,
  teacherTemp: TEACHER_TEMP,
  warmupTeacherTempEpochs: 0,
  nepochs: 1,
};
const globals: CropGroup = { views: 2, regions: 9 };
const groups: readonly CropGroup[] = [globals, { views: 2, regions: 4 }, { views: 1, regions: 1 }];
const regions = groups.flatMap((group) => Array<number>(group.views).fill(group.regions));
const starts = regions.map((_, view) => regions.slice(0, view).reduce((sum, n) => sum + n * BATCH, 0));

const wide = (x: Tensor) => x.detach().to({ dtype: 'float64' });

function outputs(of: readonly CropGroup[]): MultiCropOutput {
  const views = of.reduce((sum, group) => sum + group.views, 0);
  const tokens = of.reduce((sum, group) => sum + group.views * group.regions * BATCH, 0);
  const dense = { region: randn([tokens, OUT]), features: randn([tokens, DIM]) };
  return { cls: randn([views * BATCH, OUT]), groups: of, dense };
}

/** Mixtures of each view: shares, boxes and whole pictures. */
const mixtures: readonly (readonly MixedPicture[] | undefined)[] = [
  [{ own: 0.3 }, { own: 1 }, { own: 0.75, box: { top: 0, left: 3, height: 6, width: 6 } }, { own: 0.6 }],
  Array<MixedPicture>(BATCH).fill({ own: 0.7 }),
  Array<MixedPicture>(BATCH).fill({
    own: 1 - 35 / 144,
    box: { top: 5, left: 2, height: 7, width: 5 },
  }),
  undefined,
  [{ own: 0.2 }, { own: 0.9 }, { own: 0.9 }, { own: 0.2 }],
];

function mixingOf(smoothing: number, of = mixtures): (CropMixing | undefined)[] {
  return of.map((pictures) => pictures && cropMixing(pictures, SIZE, smoothing, 'cpu'));
}

/** The definition in docs/augmentation.md, pair by pair and region by region. */
function naive(student: MultiCropOutput, teacher: MultiCropOutput, smoothing: number, loss: ViewRegionLoss) {
  const leaf = (x: Tensor) => {
    const copy = wide(x).clone();
    copy.requiresGrad = true;
    return copy;
  };
  const cls = leaf(student.cls);
  const region = leaf(student.dense!.region);
  const q = (logits: Tensor, center: Tensor) => wide(logits).sub(wide(center)).div(TEACHER_TEMP).softmax(-1);
  const answers = q(teacher.cls, loss.center);
  const regionAnswers = q(teacher.dense!.region, loss.centerGrid);
  const logP = (x: Tensor) => x.div(STUDENT_TEMP).logSoftmax(-1);
  const pairs: Tensor[] = [];
  for (let t = 0; t < 2; t++)
    for (let v = 0; v < regions.length; v++) {
      if (v === t) continue;
      const evenly = mixtures[v] === undefined ? 0 : smoothing;
      const ofView = answers.narrow(0, t * BATCH, BATCH);
      const ofRegions = regionAnswers.narrow(0, t * BATCH * globals.regions, BATCH * globals.regions);
      const terms: Tensor[] = [];
      for (let j = 0; j < BATCH; j++) {
        const picture = mixtures[v]?.[j] ?? { own: 1 };
        const target = (own: Tensor, partner: Tensor, share: number, mean: Tensor) =>
          own
            .mul(share)
            .add(partner.mul(1 - share))
            .mul(1 - evenly)
            .add(mean.mul(evenly));
        const row = logP(cls.select(0, v * BATCH + j));
        const wanted = target(
          ofView.select(0, j),
          ofView.select(0, BATCH - 1 - j),
          picture.own,
          ofView.mean([0]),
        );
        terms.push(
          wanted
            .mul(row)
            .sumAll()
            .neg()
            .mul(0.5 / BATCH),
        );
        const shares = ownShares(picture, SIZE, regions[v]);
        for (let r = 0; r < regions[v]; r++) {
          const at = starts[v] + j * regions[v] + r;
          const feature = wide(student.dense!.features.select(0, at));
          const best = (b: number): Tensor => {
            const first = (t * BATCH + b) * globals.regions;
            const theirs = wide(teacher.dense!.features.narrow(0, first, globals.regions));
            const similarity = Array.from(
              theirs
                .div(theirs.norm(2, [1], true))
                .matmul(feature)
                .toArray(),
              Number,
            );
            return ofRegions.select(0, b * globals.regions + similarity.indexOf(Math.max(...similarity)));
          };
          const asked = target(best(j), best(BATCH - 1 - j), shares[r], ofRegions.mean([0]));
          const weight = 0.5 / (BATCH * regions[v]);
          terms.push(
            asked
              .mul(logP(region.select(0, at)))
              .sumAll()
              .neg()
              .mul(weight),
          );
        }
      }
      pairs.push(terms.reduce((a, b) => a.add(b)));
    }
  const total = pairs.reduce((a, b) => a.add(b)).div(pairs.length);
  total.backward();
  return { loss: total, gradients: [cls.grad as Tensor, region.grad as Tensor] };
}

function expectClose(mine: Tensor, expected: Tensor, tolerance = 5e-6): void {
  expect(mine.shape).toEqual(expected.shape);
  expect(wide(mine).sub(wide(expected)).abs().max().item()).toBeLessThan(tolerance);
}

describe('both tasks on mixed pictures', () => {
  it.each([0, 0.1])('follow the definition, with a smoothing of %d', (smoothing) => {
    const before = liveTensors();
    scope(() => {
      manualSeed(3);
      const loss = new ViewRegionLoss(options);
      loss.center.copy_(randn([1, OUT]));
      loss.centerGrid.copy_(randn([1, OUT]));
      const [student, teacher] = [outputs(groups), outputs([globals])];
      const expected = naive(student, teacher, smoothing, loss);
      const found = loss.forward(student, teacher, 0, mixingOf(smoothing));
      expectClose(found.loss, expected.loss, 2e-5);
      for (const [i, gradient] of found.gradients.entries()) expectClose(gradient, expected.gradients[i]);
      loss.center.dispose();
      loss.centerGrid.dispose();
    });
    expect(liveTensors() - before).toBeLessThanOrEqual(2); // sums that the centres keep
  });

  it('are those of whole pictures where nothing is mixed, and those of the partners where all is', () => {
    scope(() => {
      manualSeed(4);
      const loss = new ViewRegionLoss(options);
      const [student, teacher] = [outputs(groups), outputs([globals])];
      const all = (own: number) =>
        mixingOf(
          0,
          regions.map(() => Array<MixedPicture>(BATCH).fill({ own })),
        );
      expectClose(loss.forward(student, teacher, 0, all(1)).loss, loss.forward(student, teacher, 0).loss);
      const flip = (x: Tensor, rows: number) =>
        x
          .view([2, BATCH, rows, x.shape[1]])
          .flip([1])
          .reshape([2 * BATCH * rows, x.shape[1]]);
      const swapped: MultiCropOutput = {
        cls: flip(teacher.cls, 1),
        groups: [globals],
        dense: {
          region: flip(teacher.dense!.region, globals.regions),
          features: flip(teacher.dense!.features, globals.regions),
        },
      };
      expectClose(loss.forward(student, teacher, 0, all(0)).loss, loss.forward(student, swapped, 0).loss);
    });
  });

  it('take of a region what lies outside of the box, so that regions add up to the crop', () => {
    const box = { top: 5, left: 2, height: 7, width: 5 };
    const picture = { own: 1 - 35 / 144, box };
    expect([...ownShares(picture, SIZE, 1)][0]).toBeCloseTo(picture.own, 12);
    for (const count of [4, 9, 16, 36]) {
      const shares = ownShares(picture, SIZE, count);
      expect(shares.reduce((sum, share) => sum + share, 0) / count).toBeCloseTo(picture.own, 12);
    }
    const quarters = ownShares({ own: 0.75, box: { top: 0, left: 6, height: 6, width: 6 } }, SIZE, 4);
    expect([...quarters]).toEqual([1, 0, 1, 1]);
    expect(() => ownShares(picture, SIZE, 6)).toThrow('form no square');
  });
});
