/** Layers against what they are by definition. */

import { describe, expect, it } from 'vitest';
import {
  BatchNorm,
  Conv2d,
  DropPath,
  drop,
  fanInUniform,
  LayerNorm,
  Linear,
  Mlp,
  startByFanIn,
  truncatedNormal,
  WeightNormLinear,
} from '../../src/nn/index.js';
import {
  cat,
  empty,
  liveTensors,
  manualSeed,
  noGrad,
  ones,
  randn,
  scope,
  type Tensor,
  tensor,
  zeros,
} from '../../src/torch/index.js';

const numbers = (x: Tensor) => Array.from(x.toArray(), Number);

function expectClose(mine: Tensor, expected: Tensor, tolerance = 1e-6): void {
  expect(mine.shape).toEqual(expected.shape);
  expect(scope(() => mine.sub(expected).abs().max().item())).toBeLessThanOrEqual(tolerance);
}

/** The derivative of `f` at `parameter`, element by element, in float64. */
function numericGradient(parameter: Tensor, f: () => number, h = 1e-5): number[] {
  const values = Float64Array.from(numbers(parameter));
  const set = (array: Float64Array) =>
    noGrad(() => parameter.copy_(tensor(array, { shape: parameter.shape })));
  const slopes = numbers(parameter).map((_, i) => {
    const at = (change: number) => {
      set(values.map((value, j) => value + (i === j ? change : 0)));
      return f();
    };
    return (at(h) - at(-h)) / (2 * h);
  });
  set(values);
  return slopes;
}

describe('Linear', () => {
  it.each([[[5, 3]], [[2, 5, 3]], [[2, 2, 5, 3]], [[3]]])('maps the last dimension of %j', (shape) => {
    const layer = new Linear(3, 4);
    const x = randn(shape);
    expectClose(layer.forward(x), x.matmul(layer.weight.t()).add(layer.bias as Tensor));
  });

  it('has no bias where none is wanted', () => {
    const layer = new Linear(3, 4, { bias: false });
    expect([...layer.stateDict().keys()]).toEqual(['weight']);
    expect(numbers(layer.forward(zeros([1, 3])))).toEqual([0, 0, 0, 0]);
  });
});

describe('Conv2d', () => {
  it('sums over channels and the kernel, with stride, padding and groups', () => {
    const layer = new Conv2d(2, 2, 3, { stride: 2, padding: 1, groups: 2, bias: true });
    expect(layer.weight.shape).toEqual([2, 1, 3, 3]);
    noGrad(() => {
      layer.weight.fill_(1);
      layer.bias?.zero_();
    });
    const y = layer.forward(cat([ones([1, 1, 4, 4]), zeros([1, 1, 4, 4])], 1));
    expect(y.shape).toEqual([1, 2, 2, 2]);
    expect(numbers(y)).toEqual([4, 6, 6, 9, 0, 0, 0, 0]);
  });
});

describe('startByFanIn', () => {
  it('gives outputs about the size of the inputs at any width, and no biases', () => {
    for (const width of [24, 96, 768]) {
      manualSeed(width);
      const layer = new Linear(width, width);
      startByFanIn(layer);
      const y = layer.forward(randn([64, width]));
      expect(Math.abs(y.square().meanAll().sqrt().item() - 1)).toBeLessThan(0.1);
      expect(layer.bias?.abs().max().item()).toBe(0);
    }
  });
});

describe('WeightNormLinear', () => {
  it('has rows of the length of their gain, in the direction of v', () => {
    const layer = new WeightNormLinear(2, 3);
    noGrad(() => {
      layer.weightV.copy_(
        tensor([
          [3, 4],
          [0, 5],
          [-6, 8],
        ]),
      );
      layer.weightG.copy_(tensor([[1], [2], [10]]));
    });
    expectClose(
      layer.weight(),
      tensor([
        [0.6, 0.8],
        [0, 2],
        [-6, 8],
      ]),
    );
    expectClose(layer.forward(tensor([[1, 1]])), tensor([[1.4, 2, 2]]));
    expect([...layer.stateDict().keys()]).toEqual(['weight_g', 'weight_v']);
  });

  it('starts with gains of 1, trained only on request', () => {
    expect(new WeightNormLinear(2, 3).weightG.requiresGrad).toBe(true);
    const fixed = new WeightNormLinear(2, 3, { trainGain: false });
    expect(fixed.weightG.requiresGrad).toBe(false);
    expect(fixed.weightV.requiresGrad).toBe(true);
    expect(numbers(fixed.weightG)).toEqual([1, 1, 1]);
  });

  it('has the gradients of g v / |v|', () => {
    manualSeed(1);
    const layer = new WeightNormLinear(3, 2).to({ dtype: 'float64' });
    noGrad(() => layer.weightG.copy_(tensor([[0.5], [2]])));
    const x = randn([4, 3], { dtype: 'float64' });
    const weights = randn([4, 2], { dtype: 'float64' });
    const value = () => scope(() => layer.forward(x).mul(weights).sumAll());
    value().backward();
    for (const parameter of [layer.weightG, layer.weightV]) {
      const expected = tensor(
        numericGradient(parameter, () => value().item()),
        { dtype: 'float64' },
      );
      expectClose((parameter.grad as Tensor).view([-1]), expected, 1e-7);
    }
  });

  it('does not depend on the length of v', () => {
    const layer = new WeightNormLinear(3, 2);
    const x = randn([4, 3]);
    const before = layer.forward(x);
    noGrad(() => layer.weightV.mul_(7));
    expectClose(layer.forward(x), before);
  });
});

describe('LayerNorm', () => {
  it('centres and scales the last dimension, with its eps inside the root', () => {
    const layer = new LayerNorm(3, 0.25);
    noGrad(() => {
      layer.weight.fill_(2);
      layer.bias.fill_(1);
    });
    // variance of (-1, 0, 1) is 2/3
    const scale = 2 / Math.sqrt(2 / 3 + 0.25);
    expectClose(layer.forward(tensor([[4, 5, 6]])), tensor([[1 - scale, 1, 1 + scale]]));
  });

  it('takes narrow floats on the CPU', () => {
    const y = new LayerNorm(4).forward(tensor([[1, 2, 3, 4]], { dtype: 'bfloat16' }));
    expect(y.dtype).toBe('bfloat16');
    expectClose(y.to({ dtype: 'float32' }), tensor([[-1.34, -0.45, 0.45, 1.34]]), 0.02);
  });
});

describe('BatchNorm', () => {
  it('uses and keeps statistics of the batch in training, and those it kept otherwise', () => {
    const layer = new BatchNorm(1, 0);
    const x = tensor([[1], [3]]);
    expectClose(layer.forward(x), tensor([[-1], [1]]));
    expect(layer.runningMean.item()).toBeCloseTo(0.1 * 2, 6);
    // the variance of a sample: 2, not 1
    expect(layer.runningVar.item()).toBeCloseTo(0.9 + 0.1 * 2, 6);
    expect(layer.numBatchesTracked.item()).toBe(1);
    layer.eval();
    expectClose(layer.forward(x), x.sub(0.2).div(Math.sqrt(1.1)));
    expect(layer.numBatchesTracked.item()).toBe(1);
  });

  it('goes over pictures too', () => {
    const y = new BatchNorm(2).forward(randn([3, 2, 4, 5]).mul(3).add(7));
    expectClose(y.mean([0, 2, 3]), zeros([2]), 1e-5);
    expectClose(y.square().mean([0, 2, 3]), ones([2]), 1e-3);
  });
});

describe('Mlp', () => {
  it('is two linear maps around the exact GELU', () => {
    const layer = new Mlp({ dim: 3, hiddenDim: 5, outDim: 2 });
    const x = randn([2, 4, 3]);
    const hidden = layer.fc1.forward(x);
    const gelu = hidden.mul(hidden.div(Math.SQRT2).erf().add(1)).mul(0.5);
    expectClose(layer.forward(x), layer.fc2.forward(gelu));
    expect([...layer.stateDict().keys()]).toEqual(['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias']);
  });
});

describe('drop path', () => {
  it('leaves whole samples out and keeps the expectation', () => {
    manualSeed(2);
    const count = 20_000;
    const layer = new DropPath(0.3);
    const y = layer.add(zeros([count, 2, 2]), ones([count, 2, 2]));
    const kept = numbers(y.amax([1, 2]));
    expect(numbers(y.amin([1, 2]))).toEqual(kept); // a sample as a whole
    expect([...new Set(kept)].sort()).toEqual([0, Math.fround(1 / 0.7)]);
    // 4 standard deviations of the mean
    const deviation = Math.sqrt(0.3 / 0.7 / count);
    expect(Math.abs(y.meanAll().item() - 1)).toBeLessThan(4 * deviation);
  });

  it('adds all where nothing is trained, or the rate is 0', () => {
    const [x, branch] = [randn([8, 3]), randn([8, 3])];
    expectClose(new DropPath(0.9).eval().add(x, branch), x.add(branch), 0);
    expectClose(new DropPath(0).add(x, branch), x.add(branch), 0);
  });

  it('gives left-out branches no gradient', () => {
    manualSeed(3);
    const branch = ones([64, 1]);
    branch.requiresGrad = true;
    const y = new DropPath(0.5).add(zeros([64, 1]), branch);
    y.sumAll().backward();
    expect(numbers(branch.grad as Tensor)).toEqual(numbers(y));
    expect(new Set(numbers(y))).toEqual(new Set([0, 2]));
  });
});

describe('dropout', () => {
  it('keeps the expectation, and is the very tensor where there is none', () => {
    manualSeed(4);
    const x = ones([40_000]);
    const y = drop(x, 0.25, true);
    expect([...new Set(numbers(y))].sort()).toEqual([0, Math.fround(4 / 3)]);
    expect(Math.abs(y.meanAll().item() - 1)).toBeLessThan(4 * Math.sqrt(1 / 3 / 40_000));
    expect(drop(x, 0.25, false)).toBe(x);
    expect(drop(x, 0, true)).toBe(x);
  });
});

describe('initialisation', () => {
  it('draws a normal that is cut at 2', () => {
    manualSeed(5);
    const x = truncatedNormal(empty([100_000]), 0.02);
    expect(Math.abs(x.meanAll().item())).toBeLessThan(4 * (0.02 / Math.sqrt(100_000)));
    expect(x.std().item()).toBeCloseTo(0.02, 3);
    const wide = truncatedNormal(empty([20_000]), 3);
    expect(wide.abs().max().item()).toBeLessThanOrEqual(2);
    // what is left of a normal of deviation 3 inside ±2 is nearly uniform: deviation near 2/√3
    expect(wide.std().item()).toBeGreaterThan(1.05);
    expect(wide.std().item()).toBeLessThan(1.155);
  });

  it('draws uniformly by the fan-in', () => {
    manualSeed(6);
    const x = fanInUniform(empty([50_000]), 16);
    expect(x.abs().max().item()).toBeLessThanOrEqual(0.25);
    expect(x.std().item()).toBeCloseTo(0.25 / Math.sqrt(3), 2);
  });

  it('leaves no tensors behind', () => {
    const x = empty([10]);
    const before = liveTensors();
    truncatedNormal(x, 0.02);
    fanInUniform(x, 4);
    expect(liveTensors()).toBe(before);
  });
});
