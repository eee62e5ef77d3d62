/** The addon's single passes over logits and parameters against their formulas, for every kernel that this machine runs. */

import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  adamwPass,
  averagePass,
  crossEntropyPass,
  type DType,
  empty,
  manualSeed,
  ones,
  rand,
  randn,
  scope,
  sharpenPass,
  type Tensor,
  tensor,
  useKernels,
} from '../../src/torch/index.js';

const KERNELS = (['plain', 'avx2', 'avx512'] as const).filter((name) => useKernels(name));
afterAll(() => useKernels(null));

const wide = (x: Tensor) => x.to({ dtype: 'float64' });

function expectClose(mine: Tensor, exact: Tensor, tolerance: number): void {
  expect(mine.shape).toEqual(exact.shape);
  const off = scope(() => wide(mine).sub(exact).abs().max().item());
  const size = scope(() => exact.abs().max().item());
  expect(off / Math.max(size, 1e-6)).toBeLessThanOrEqual(tolerance);
}

describe.each(KERNELS)('with %s kernels', (kernels) => {
  const shapes = fc.record({
    rows: fc.integer({ min: 1, max: 70 }),
    width: fc.integer({ min: 1, max: 3000 }),
    dtype: fc.constantFrom<DType>('float32', 'bfloat16'),
    ofEach: fc.boolean(),
  });

  it('cross-entropy and its gradient are those of the formula', () => {
    useKernels(kernels);
    manualSeed(1);
    fc.assert(
      fc.property(shapes, ({ rows, width, dtype, ofEach }) =>
        scope(() => {
          const x = randn([rows, width]).mul(3).to({ dtype });
          const q = randn([rows, width])
            .softmax(-1)
            .mul(rand([rows, 1]).add(0.5));
          const total = ofEach ? q.sum([-1], true) : 1.5;
          const gradient = empty([rows, width], { dtype });
          const [factor, weight] = [10, 0.25];
          const loss = crossEntropyPass(x, q, total, { factor, weight, gradient });
          const z = wide(x).mul(factor);
          const exact = z
            .logsumexp([-1], true)
            .mul(ofEach ? wide(total as Tensor) : 1.5)
            .sub(wide(q).mul(z).sum([-1], true));
          expectClose(loss, exact.sumAll().mul(weight), 1e-5);
          const slope = z
            .softmax(-1)
            .mul(ofEach ? wide(total as Tensor) : 1.5)
            .sub(wide(q))
            .mul(weight * factor);
          expectClose(gradient, slope, dtype === 'float32' ? 1e-5 : 5e-3);
        }),
      ),
      { seed: 1, numRuns: 20 },
    );
  });

  it("the teacher's answers are those of the formula", () => {
    useKernels(kernels);
    manualSeed(2);
    fc.assert(
      fc.property(shapes, ({ rows, width, dtype }) =>
        scope(() => {
          const x = randn([rows, width]).to({ dtype });
          const center = randn([1, width]);
          const exact = wide(x).sub(wide(center)).mul(25).softmax(-1);
          expectClose(sharpenPass(x, center, 25), exact, 1e-5);
        }),
      ),
      { seed: 2, numRuns: 20 },
    );
  });

  it('AdamW and the moving average are those of the formulas, over pieces and what is left of them', () => {
    useKernels(kernels);
    manualSeed(3);
    scope(() => {
      const sizes = [1, 7, 70_001, 131_072];
      const lists = [0, 1, 2].map(() => sizes.map((size) => randn([size])));
      const squares = sizes.map((size) => rand([size]));
      const [p, g, m] = lists;
      const settings = { decay: 0.99, beta1: 0.9, beta2: 0.999, correction: 3, eps: 1e-8, rate: 0.01 };
      const exact = sizes.map((_, i) => {
        const mean = wide(m[i]).mul(0.9).add(wide(g[i]).mul(0.1));
        const square = wide(squares[i])
          .mul(0.999)
          .add(wide(g[i]).mul(wide(g[i])).mul(0.001));
        const change = mean.mul(0.01).div(square.sqrt().mul(3).add(1e-8));
        return [mean, square, wide(p[i]).mul(0.99).sub(change)];
      });
      expect(adamwPass(p, g, m, squares, settings)).toBe(true);
      for (const [i, [mean, square, parameter]] of exact.entries()) {
        expectClose(m[i], mean, 1e-6);
        expectClose(squares[i], square, 1e-6);
        expectClose(p[i], parameter, 1e-6);
      }
      const average = sizes.map((_, i) => wide(m[i]).mul(0.996).add(wide(p[i]).mul(0.004)));
      expect(averagePass(m, p, 0.996)).toBe(true);
      for (const [i, value] of average.entries()) expectClose(m[i], value, 1e-6);
    });
  });
});

describe('the passes', () => {
  it('leave alone what they cannot work on', () => {
    scope(() => {
      const x = ones([4, 3]);
      const across = ones([3, 4]).t();
      for (const other of [across, ones([4, 3], { dtype: 'float64' })]) {
        expect(averagePass([x], [other], 0)).toBe(false);
        expect(averagePass([other], [x], 0)).toBe(false);
      }
      expect(x.sumAll().item()).toBe(12);
    });
  });

  it('give no number where an input is none', () => {
    scope(() => {
      const x = tensor([[1, Number.NaN, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]]);
      const q = ones(x.shape).div(18);
      const gradient = empty(x.shape);
      const loss = crossEntropyPass(x, q, 1, { factor: 10, weight: 1, gradient });
      expect(loss.item()).toBeNaN();
      const answers = sharpenPass(x, ones(x.shape), 1);
      expect(answers.isnan().allAll().item()).toBe(1);
    });
  });
});
