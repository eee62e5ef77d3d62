/** The addon's own operators against what they are by definition, for every kernel that this machine runs. */

import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  backward,
  cat,
  type DType,
  fits,
  fusedLayerNorm,
  fusedWindowAttention,
  gelu,
  getThreads,
  halfWeightNorm,
  manualSeed,
  noGrad,
  observeOperators,
  ones,
  randn,
  scope,
  setThreads,
  stack,
  type Tensor,
  tensor,
  useKernels,
  weightNorm,
  zeros,
} from '../../src/torch/index.js';

const KERNELS = (['plain', 'avx2', 'avx512'] as const).filter((name) => useKernels(name));
afterAll(() => useKernels(null));

/** A leaf that wants a gradient, holding what fits `dtype` exactly. */
function leaf(shape: readonly number[], dtype: DType = 'float32'): Tensor {
  const x = scope(() => randn(shape).to({ dtype }));
  x.requiresGrad = true;
  return x;
}

/** What `f` gives for these leaves, and their gradients under a given one of the result; all in float64. */
function outcome(f: () => Tensor, leaves: readonly Tensor[], gradient: Tensor): Float64Array[] {
  for (const x of leaves) x.grad = null;
  const y = f();
  backward([y], [gradient.to({ dtype: y.dtype })]);
  return [y, ...leaves.map((x) => x.grad ?? zeros(x.shape))].map((x) =>
    Float64Array.from(x.toArray(), Number),
  );
}

function expectClose(mine: Float64Array[], reference: Float64Array[], tolerance: number): void {
  expect(mine.map(({ length }) => length)).toEqual(reference.map(({ length }) => length));
  for (const [i, values] of reference.entries()) {
    const size = Math.max(1, ...values.map(Math.abs));
    const off = values.map((value, j) => Math.abs(value - mine[i][j]) / size);
    expect(Math.max(...off), `result ${i}`).toBeLessThanOrEqual(tolerance);
  }
}

const wide = (x: Tensor) => x.to({ dtype: 'float64' });

describe.each(KERNELS)('with %s kernels', (kernels) => {
  it('layer norm and its gradients are those of the formula, for any width', () => {
    useKernels(kernels);
    manualSeed(1);
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 100 }),
        fc.constantFrom<DType>('float32', 'bfloat16'),
        (width, rows, dtype) =>
          scope(() => {
            const [x, weight, bias] = [leaf([rows, width], dtype), leaf([width]), leaf([width])];
            const gradient = randn([rows, width]).to({ dtype });
            const mine = outcome(() => fusedLayerNorm(x, weight, bias, 1e-3), [x, weight, bias], gradient);
            const byFormula = () => {
              const away = wide(x).sub(wide(x).mean([-1], true));
              const scale = away.mul(away).mean([-1], true).add(1e-3).sqrt();
              return away.div(scale).mul(wide(weight)).add(wide(bias));
            };
            const exact = outcome(byFormula, [x, weight, bias], gradient);
            expectClose(mine, exact, dtype === 'float32' ? 1e-4 : 1e-2);
          }),
      ),
      { seed: 1, numRuns: 25 },
    );
  });

  it('GELU and its slope are those of the formula', () => {
    useKernels(kernels);
    scope(() => {
      const x = tensor(Float32Array.from({ length: 2003 }, (_, i) => (i - 1001) / 100));
      x.requiresGrad = true;
      const gradient = ones(x.shape);
      const byFormula = () => wide(x).mul(Math.SQRT1_2).erf().add(1).mul(0.5).mul(wide(x));
      const [mine, exact] = [outcome(() => gelu(x), [x], gradient), outcome(byFormula, [x], gradient)];
      for (const [i, values] of exact.entries())
        expect(Math.max(...values.map((value, j) => Math.abs(value - mine[i][j])))).toBeLessThan(1e-6);
      const halves = noGrad(() => x.to({ dtype: 'bfloat16' }));
      halves.requiresGrad = true;
      expectClose(
        outcome(() => gelu(halves), [halves], gradient),
        outcome(() => halves.gelu(), [halves], gradient),
        1e-2,
      );
    });
  });

  it('a normalised weight is rounded once, and its gradients are those of the formula', () => {
    useKernels(kernels);
    manualSeed(4);
    for (const [rows, width] of [
      [1, 1],
      [300, 37],
      [5, 256],
    ])
      scope(() => {
        const [v, gain] = [leaf([rows, width]), leaf([rows, 1])];
        const gradient = randn([rows, width]).to({ dtype: 'bfloat16' });
        const byFormula = () =>
          wide(v)
            .div(wide(v).norm(2, [-1], true))
            .mul(wide(gain));
        const mine = outcome(() => halfWeightNorm(v, gain), [v, gain], gradient);
        const exact = outcome(byFormula, [v, gain], gradient);
        expectClose(mine.slice(0, 1), exact.slice(0, 1), 4e-3);
        expectClose(mine.slice(1), exact.slice(1), 1e-5);
        const libtorchs = weightNorm(v, gain, 0).to({ dtype: 'bfloat16' });
        expectClose([Float64Array.from(libtorchs.toArray(), Number)], mine.slice(0, 1), 8e-3);
      });
  });

  it('window attention and its gradients are those of the formula, shifted, padded or not', () => {
    useKernels(kernels);
    manualSeed(2);
    fc.assert(
      fc.property(
        fc.record({
          batch: fc.integer({ min: 1, max: 2 }),
          height: fc.integer({ min: 1, max: 9 }),
          width: fc.integer({ min: 1, max: 9 }),
          heads: fc.integer({ min: 1, max: 3 }),
          depth: fc.constantFrom(1, 5, 16, 32, 40),
          window: fc.integer({ min: 1, max: 5 }),
          shift: fc.integer({ min: 0, max: 2 }),
          dtype: fc.constantFrom<DType>('float32', 'bfloat16'),
          withBias: fc.boolean(),
        }),
        ({ batch, height, width, heads, depth, window, shift, dtype, withBias }) =>
          scope(() => {
            const options = { window, shift: Math.min(shift, window - 1) };
            const qkv = leaf([batch, height, width, 3 * heads * depth], dtype);
            // Biases of bfloat16 maps are rounded to it; these are already.
            const outside = withBias
              ? scope(() => randn([3 * heads * depth]).to({ dtype: 'bfloat16' }))
              : null;
            const own = outside?.to({ dtype: 'float32' }) ?? null;
            if (own !== null) own.requiresGrad = true;
            const bias = leaf([heads, window ** 2, window ** 2]);
            const gradient = randn([batch, height, width, heads * depth]).to({ dtype });
            const leaves = own === null ? [qkv, bias] : [qkv, bias, own];
            const mine = outcome(() => fusedWindowAttention(qkv, own, bias, options), leaves, gradient);
            const exact = outcome(() => byFormula(qkv, own, bias, options), leaves, gradient);
            expectClose(mine, exact, dtype === 'float32' ? 1e-4 : 1e-2);
          }),
      ),
      { seed: 2, numRuns: 30 },
    );
  });
});

describe('the operators', () => {
  const step = () => {
    manualSeed(3);
    const qkv = leaf([2, 9, 10, 3 * 2 * 8]);
    const bias = leaf([2, 16, 16]);
    const [x, weight, shift] = [leaf([70, 20]), leaf([20]), leaf([20])];
    return [
      ...outcome(
        () => fusedWindowAttention(qkv, null, bias, { window: 4, shift: 2 }),
        [qkv, bias],
        randn([2, 9, 10, 16]),
      ),
      ...outcome(() => fusedLayerNorm(x, weight, shift, 1e-6), [x, weight, shift], randn([70, 20])),
    ];
  };

  it('give the same bits with any number of threads', () => {
    const threads = getThreads();
    try {
      setThreads(1);
      const alone = scope(step);
      setThreads(3);
      expect(scope(step)).toEqual(alone);
    } finally {
      setThreads(threads);
    }
  });

  it('keep what is not a number or infinite', () => {
    scope(() => {
      const x = tensor([
        [1, Number.NaN, 2],
        [1, 2, 3],
      ]).to({ dtype: 'bfloat16' });
      const y = Array.from(fusedLayerNorm(x, ones([3]), zeros([3]), 1e-6).toArray(), Number);
      expect(y.slice(0, 3)).toEqual([Number.NaN, Number.NaN, Number.NaN]);
      expect(y.slice(3).every(Number.isFinite)).toBe(true);
    });
  });

  it('take float32 and bfloat16 on the CPU, while nobody counts operators', () => {
    scope(() => {
      const weight = ones([2]);
      expect(fits(ones([2]), weight)).toBe(true);
      expect(fits(ones([2], { dtype: 'bfloat16' }), weight)).toBe(true);
      expect(fits(ones([2], { dtype: 'float64' }), weight)).toBe(false);
      expect(fits(ones([2]), ones([2], { dtype: 'float64' }))).toBe(false);
      observeOperators(
        () => {},
        () => expect(fits(ones([2]), weight)).toBe(false),
      );
    });
  });
});

/** Window attention, window by window, in float64. */
function byFormula(
  qkv: Tensor,
  outside: Tensor | null,
  bias: Tensor,
  { window, shift }: { window: number; shift: number },
): Tensor {
  const [batch, height, width, three] = qkv.sizes(4);
  const heads = bias.shape[0];
  const channels = three / 3;
  const depth = channels / heads;
  const [rows, columns] = [Math.ceil(height / window), Math.ceil(width / window)];
  const [high, broad] = [rows * window, columns * window];
  const tokenOutside = outside === null ? zeros([three], { dtype: 'float64' }) : wide(outside);
  const piece = (at: number, length: number) => (at < length - window ? 0 : at < length - shift ? 1 : 2);
  const results = new Map<string, Tensor>();
  for (let image = 0; image < batch; image++)
    for (let window_ = 0; window_ < rows * columns; window_++) {
      const places = Array.from({ length: window ** 2 }, (_, i) => {
        const y = Math.floor(window_ / columns) * window + Math.floor(i / window);
        const x = (window_ % columns) * window + (i % window);
        const pieces = shift === 0 ? 0 : 3 * piece(y, high) + piece(x, broad);
        return { y: (y + shift) % high, x: (x + shift) % broad, pieces };
      });
      const tokens = places.map(({ y, x }) =>
        y < height && x < width ? wide(qkv).select(0, image).select(0, y).select(0, x) : tokenOutside,
      );
      const all = stack(tokens, 0); // [L, 3C]
      const apart = tensor(places.map((a) => places.map((b) => (a.pieces === b.pieces ? 0 : -100))));
      const byHead = Array.from({ length: heads }, (_, head) => {
        const [q, k, v] = [0, 1, 2].map((part) => all.narrow(1, part * channels + head * depth, depth));
        const scores = q
          .matmul(k.t())
          .mul(1 / Math.sqrt(depth))
          .add(wide(bias).select(0, head))
          .add(apart);
        return scores.softmax(-1).matmul(v);
      });
      for (const [i, { y, x }] of places.entries())
        results.set(
          `${image},${y},${x}`,
          cat(
            byHead.map((mixed) => mixed.select(0, i)),
            0,
          ),
        );
    }
  const inOrder: Tensor[] = [];
  for (let image = 0; image < batch; image++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) inOrder.push(results.get(`${image},${y},${x}`) as Tensor);
  return stack(inOrder, 0).view([batch, height, width, channels]);
}
