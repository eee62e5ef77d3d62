/** Modules: what their tensors are called, how states go in and out, modes and devices. */

import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { BatchNorm, Buffer, Linear, Module, officialName, Parameter } from '../../src/nn/index.js';
import { full, liveTensors, scope, type Tensor, tensor, zeros } from '../../src/torch/index.js';

class Inner extends Module {
  readonly someWeight = new Parameter(tensor([1, 2]));
  readonly runningSum = new Buffer(tensor([3]));
}

class Outer extends Module {
  readonly childFirst = new Linear(1, 2, { bias: false });
  readonly blocks: readonly (Module | null)[] = [new Inner(), null, new Inner()];
  /** defined after children, yet its own: own tensors come first */
  readonly clsToken = new Parameter(zeros([1]), { trainable: false });
  readonly stepCount = new Buffer(tensor(0n, { dtype: 'int64' }));
  readonly norm: BatchNorm | null = null;
  private readonly label = 'neither tensor nor module';
  private readonly loose = tensor([9]);

  describe(): string {
    return `${this.label} ${this.loose}`;
  }
}

describe('names', () => {
  it('are the properties in snake case', () => {
    expect(officialName('relativePositionBiasTable')).toBe('relative_position_bias_table');
    expect(officialName('norm1')).toBe('norm1');
    expect(officialName('qkv')).toBe('qkv');
  });

  it('follow the order of PyTorch: own parameters, own buffers, then children', () => {
    expect([...new Outer().stateDict().keys()]).toEqual([
      'cls_token',
      'step_count',
      'child_first.weight',
      'blocks.0.some_weight',
      'blocks.0.running_sum',
      'blocks.2.some_weight',
      'blocks.2.running_sum',
    ]);
  });

  it('of parameters and buffers are apart', () => {
    const outer = new Outer();
    expect([...outer.namedParameters().keys()]).toEqual([
      'cls_token',
      'child_first.weight',
      'blocks.0.some_weight',
      'blocks.2.some_weight',
    ]);
    expect([...outer.namedBuffers().keys()]).toEqual([
      'step_count',
      'blocks.0.running_sum',
      'blocks.2.running_sum',
    ]);
    expect(outer.parameters().map(({ requiresGrad }) => requiresGrad)).toEqual([false, true, true, true]);
  });

  it('a shared parameter has its first name only, but both in the state', () => {
    const shared = new Linear(2, 2);
    class Twice extends Module {
      readonly a = shared;
      readonly b = shared;
    }
    const twice = new Twice();
    expect([...twice.namedParameters().keys()]).toEqual(['a.weight', 'a.bias']);
    expect([...twice.stateDict().keys()]).toEqual(['a.weight', 'a.bias', 'b.weight', 'b.bias']);
    expect(twice.parameters()).toHaveLength(2);
  });

  it('of batch norm are those of PyTorch', () => {
    const rows = [...new BatchNorm(3).stateDict()].map(([name, { shape, dtype }]) => [name, shape, dtype]);
    expect(rows).toEqual([
      ['weight', [3], 'float32'],
      ['bias', [3], 'float32'],
      ['running_mean', [3], 'float32'],
      ['running_var', [3], 'float32'],
      ['num_batches_tracked', [], 'int64'],
    ]);
  });
});

describe('loadStateDict', () => {
  const state = (): Map<string, Tensor> =>
    new Map([
      ['weight', full([2, 1], 3)],
      ['bias', full([2], 4)],
    ]);

  it('copies by name and keeps identity, gradient flag and dtype', () => {
    const linear = new Linear(1, 2);
    const { weight } = linear;
    const wide = new Map([...state()].map(([name, value]) => [name, value.to({ dtype: 'float64' })]));
    expect(linear.loadStateDict(wide)).toEqual({ missing: [], unexpected: [] });
    expect(linear.weight).toBe(weight);
    expect([...weight.toFloat32()]).toEqual([3, 3]);
    expect([weight.dtype, weight.requiresGrad]).toEqual(['float32', true]);
    // a copy: the source can go its own way
    wide.get('weight')?.zero_();
    expect([...weight.toFloat32()]).toEqual([3, 3]);
  });

  it.each<[string, (s: Map<string, Tensor>) => void, RegExp]>([
    ['missing', (s) => s.delete('bias'), /1 missing \(bias\)/],
    ['left over', (s) => s.set('gain', zeros([1])), /1 unexpected \(gain\)/],
    ['all there are', (s) => s.clear(), /2 missing \(weight, bias\)/],
    [
      'many',
      (s) => {
        for (let i = 0; i < 5; i++) s.set(`x${i}`, zeros([1]));
      },
      /5 unexpected \(x0, x1, x2, \.\.\.\)/,
    ],
  ])('refuses a state with names %s', (_, change, message) => {
    const linear = new Linear(1, 2);
    const before = [...linear.weight.toFloat32()];
    const given = state();
    change(given);
    expect(() => linear.loadStateDict(given)).toThrow(UserError);
    expect(() => linear.loadStateDict(given)).toThrow(message);
    expect([...linear.weight.toFloat32()]).toEqual(before);
  });

  it('reports instead where it need not be strict', () => {
    const linear = new Linear(1, 2);
    const given = state();
    given.delete('bias');
    given.set('gain', zeros([1]));
    expect(linear.loadStateDict(given, { strict: false })).toEqual({
      missing: ['bias'],
      unexpected: ['gain'],
    });
    expect([...linear.weight.toFloat32()]).toEqual([3, 3]);
  });

  it('refuses another shape in any case, and changes nothing then', () => {
    const linear = new Linear(1, 2);
    const before = [...linear.weight.toFloat32()];
    const given = state().set('bias', zeros([3]));
    for (const strict of [true, false])
      expect(() => linear.loadStateDict(given, { strict })).toThrow(/bias has shape \[3\], expected \[2\]/);
    expect([...linear.weight.toFloat32()]).toEqual(before);
  });

  it('takes a scalar for a scalar', () => {
    const norm = new BatchNorm(1);
    const given = new Map([...norm.stateDict()].map(([name, value]) => [name, value.clone()]));
    given.set('num_batches_tracked', tensor(7n, { dtype: 'int64' }));
    norm.loadStateDict(given);
    expect(norm.numBatchesTracked.item()).toBe(7);
  });
});

describe('modes', () => {
  it('reach everything below', () => {
    const outer = new Outer();
    const modes = () => [...outer.modules()].map(([, { training }]) => training);
    expect(modes()).toEqual([true, true, true, true]);
    expect(outer.eval()).toBe(outer);
    expect(modes()).toEqual([false, false, false, false]);
    outer.train();
    expect(new Set(modes())).toEqual(new Set([true]));
    expect(outer.describe()).toMatch(/^neither/);
  });

  it('another dtype is taken by floats; counters stay whole', () => {
    const norm = new BatchNorm(2);
    const { weight } = norm;
    norm.to({ dtype: 'float64' });
    expect([...norm.stateDict().values()].map(({ dtype }) => dtype)).toEqual([
      'float64',
      'float64',
      'float64',
      'float64',
      'int64',
    ]);
    expect(norm.weight).toBe(weight);
    expect(weight.requiresGrad).toBe(true);
  });

  it('zeroGrad takes gradients away', () => {
    const linear = new Linear(2, 1);
    scope(() => linear.forward(tensor([[1, 2]])).backward());
    expect([...(linear.weight.grad?.toFloat32() ?? [])]).toEqual([1, 2]);
    linear.zeroGrad();
    expect(linear.weight.grad).toBeNull();
  });
});

describe('parameters', () => {
  it('take a tensor over, and outlive the scope in which they were made', () => {
    const before = liveTensors();
    const parameter = scope(() => {
      const value = tensor([1, 2, 3]);
      const made = new Parameter(value);
      expect(value.handle).toBe(0);
      return { made };
    }).made;
    scope(() => {
      parameter.add(1);
    });
    expect([...parameter.toFloat32()]).toEqual([1, 2, 3]);
    parameter.dispose();
    expect(liveTensors()).toBe(before);
  });
});
