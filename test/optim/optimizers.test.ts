/** Optimisers against scalars worked out by hand, and their states against PyTorch's layout. */

import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { Parameter } from '../../src/nn/index.js';
import { AdamW, Lars, type Optimizer, type ParamGroup, Sgd } from '../../src/optim/index.js';
import { liveTensors, manualSeed, randn, scope, tensor } from '../../src/torch/index.js';

const LR = 0.1;
const DECAY = 0.2;

const group = (...params: Parameter[]): ParamGroup => ({ params, lr: LR, weightDecay: DECAY });

/** A parameter of one element after each of some steps. */
function follow(
  start: number | number[][],
  gradients: readonly (number | null)[],
  make: (groups: ParamGroup[]) => Optimizer,
): number[] {
  const parameter = new Parameter(tensor(start, { dtype: 'float64' }));
  const optimizer = make([group(parameter)]);
  return gradients.map((gradient) => {
    parameter.grad = gradient === null ? null : parameter.detach().mul(0).add(gradient);
    optimizer.step();
    return Number(parameter.toArray()[0]);
  });
}

function expectAll(found: readonly number[], expected: readonly number[]): void {
  expect(found).toHaveLength(expected.length);
  for (const [i, value] of found.entries()) expect(value, `step ${i}`).toBeCloseTo(expected[i], 12);
}

describe('AdamW', () => {
  it('follows algorithm 2 of Loshchilov and Hutter', () => {
    const gradients = [0.5, -1, 2];
    let [w, m, v] = [3, 0, 0];
    const expected = gradients.map((g, i) => {
      const t = i + 1;
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      w -= LR * DECAY * w;
      w -= (LR * (m / (1 - 0.9 ** t))) / (Math.sqrt(v / (1 - 0.999 ** t)) + 1e-8);
      return w;
    });
    expectAll(
      follow([[3]], gradients, (groups) => new AdamW(groups)),
      expected,
    );
  });

  it('takes other betas and eps', () => {
    // with beta1 = beta2 = 0 a step is lr g / (|g| + eps)
    const [w] = follow([[3]], [4], (groups) => new AdamW(groups, { betas: [0, 0], eps: 1 }));
    expect(w).toBeCloseTo(3 * (1 - LR * DECAY) - (LR * 4) / 5, 12);
  });

  it('counts steps by parameter: one that sat out a step is not corrected for it', () => {
    const alone = follow([[3]], [1], (groups) => new AdamW(groups));
    const [early, late] = [3, 3].map((value) => new Parameter(tensor([[value]], { dtype: 'float64' })));
    const optimizer = new AdamW([group(early, late)]);
    early.grad = tensor([[1]], { dtype: 'float64' });
    optimizer.step();
    expect(late.item()).toBe(3); // no gradient: not even decayed
    late.grad = tensor([[1]], { dtype: 'float64' });
    optimizer.step();
    expect(late.item()).toBeCloseTo(alone[0], 12);
    const { state } = optimizer.stateDict();
    expect([state.get(0)?.step, state.get(1)?.step]).toEqual([2, 1]);
  });
});

describe('Sgd', () => {
  it('has a buffer that starts as the first gradient, decay inside', () => {
    const gradients = [0.5, -1, 2];
    let [w, buffer] = [3, 0];
    const expected = gradients.map((g, i) => {
      const d = g + DECAY * w;
      buffer = i === 0 ? d : 0.9 * buffer + d;
      w -= LR * buffer;
      return w;
    });
    expectAll(
      follow([[3]], gradients, (groups) => new Sgd(groups)),
      expected,
    );
  });

  it('without momentum is plain descent', () => {
    const [first, second] = follow([[3]], [1, 1], (groups) => new Sgd(groups, 0));
    expect(first).toBeCloseTo(3 - LR * (1 + DECAY * 3), 12);
    expect(second).toBeCloseTo(first - LR * (1 + DECAY * first), 12);
  });

  it('leaves parameters without a gradient', () => {
    expectAll(
      follow([[3]], [null], (groups) => new Sgd(groups)),
      [3],
    );
  });
});

describe('Lars', () => {
  it('scales matrices by their length over that of the update', () => {
    const gradients = [0.5, -1];
    let [w, buffer] = [3, 0];
    const expected = gradients.map((g) => {
      const d = g + DECAY * w;
      const adapted = (d * (0.001 * Math.abs(w))) / Math.abs(d);
      buffer = 0.9 * buffer + adapted;
      w -= LR * buffer;
      return w;
    });
    expectAll(
      follow([[3]], gradients, (groups) => new Lars(groups)),
      expected,
    );
  });

  it('neither decays nor scales vectors', () => {
    const parameter = new Parameter(tensor([3], { dtype: 'float64' }));
    parameter.grad = tensor([0.5], { dtype: 'float64' });
    new Lars([group(parameter)]).step();
    expect(parameter.item()).toBeCloseTo(3 - LR * 0.5, 12);
  });

  it('does not scale where a length is 0', () => {
    expectAll(
      follow([[0]], [0.5], (groups) => new Lars(groups)),
      [-LR * 0.5],
    );
    const parameter = new Parameter(tensor([[4]], { dtype: 'float64' }));
    parameter.grad = tensor([[-2]], { dtype: 'float64' }); // the decay takes it back
    new Lars([{ params: [parameter], lr: LR, weightDecay: 0.5 }]).step();
    expect(parameter.item()).toBe(4);
  });
});

describe.each<[string, (groups: ParamGroup[]) => Optimizer, string[]]>([
  ['AdamW', (groups) => new AdamW(groups), ['exp_avg', 'exp_avg_sq', 'step']],
  ['Sgd', (groups) => new Sgd(groups), ['momentum_buffer']],
  ['Lars', (groups) => new Lars(groups), ['mu']],
])('%s', (_, make, names) => {
  const build = () => {
    manualSeed(7);
    const params = [randn([3, 2]), randn([4]), randn([2, 2])].map((value) => new Parameter(value));
    const optimizer = make([
      group(params[0], params[2]),
      { params: [params[1]], lr: LR / 2, weightDecay: 0 },
    ]);
    return { params, optimizer };
  };
  const step = ({ params, optimizer }: ReturnType<typeof build>, seed: number) => {
    manualSeed(seed);
    scope(() => {
      for (const parameter of params) parameter.grad = randn([...parameter.shape]);
    });
    optimizer.step();
  };

  it('goes on exactly from its state', () => {
    const [one, two] = [build(), build()];
    for (const seed of [1, 2]) step(one, seed);
    two.optimizer.loadStateDict(one.optimizer.stateDict());
    for (const [i, parameter] of two.params.entries()) parameter.setData(one.params[i].detach().clone());
    for (const seed of [3, 4]) {
      step(one, seed);
      step(two, seed);
    }
    for (const [i, parameter] of two.params.entries())
      expect([...parameter.toFloat32()]).toEqual([...one.params[i].toFloat32()]);
  });

  it('copies the state it takes: the two go their own ways', () => {
    const [one, two] = [build(), build()];
    step(one, 1);
    const before = JSON.stringify([...one.params[0].toFloat32()]);
    two.optimizer.loadStateDict(one.optimizer.stateDict());
    step(two, 2);
    step(two, 3);
    expect(JSON.stringify([...one.params[0].toFloat32()])).toBe(before);
    const [mine, theirs] = [one, two].map(({ optimizer }) => optimizer.stateDict().state.get(0)?.[names[0]]);
    expect(mine).not.toBe(theirs);
  });

  it('numbers parameters group by group, as PyTorch does', () => {
    const built = build();
    step(built, 1);
    const { state, paramGroups } = built.optimizer.stateDict();
    expect(paramGroups.map(({ params }) => params)).toEqual([[0, 1], [2]]);
    expect(paramGroups.map(({ settings }) => [settings.lr, settings.weight_decay])).toEqual([
      [LR, DECAY],
      [LR / 2, 0],
    ]);
    expect([...state.keys()]).toEqual([0, 1, 2]);
    expect(Object.keys(state.get(0) ?? {}).sort()).toEqual(names);
    const shapes = [...state.values()].map((own) => (own[names[0]] as Parameter).shape);
    expect(shapes).toEqual([[3, 2], [2, 2], [4]]);
  });

  it('has no state before its first step', () => {
    expect(build().optimizer.stateDict().state.size).toBe(0);
  });

  it('takes rates over, and a step count that is a tensor', () => {
    const built = build();
    step(built, 1);
    const dict = built.optimizer.stateDict();
    dict.paramGroups[0].settings.lr = 0.5;
    for (const own of dict.state.values()) if ('step' in own) own.step = tensor(41);
    const other = build();
    other.optimizer.loadStateDict(dict);
    expect(other.optimizer.groups[0].lr).toBe(0.5);
    const steps = [...other.optimizer.stateDict().state.values()].flatMap((own) => own.step ?? []);
    for (const count of steps) expect(count).toBe(41);
  });

  it('refuses the state of another network', () => {
    const built = build();
    step(built, 1);
    const dict = built.optimizer.stateDict();
    const fewer = { ...dict, paramGroups: dict.paramGroups.slice(0, 1) };
    expect(() => build().optimizer.loadStateDict(fewer)).toThrow(UserError);
    expect(() => build().optimizer.loadStateDict(fewer)).toThrow(/for 2 parameters, this network has 2 \+ 1/);
    const swapped = { ...dict, state: new Map([[0, dict.state.get(2) ?? {}]]) };
    expect(() => build().optimizer.loadStateDict(swapped)).toThrow(/has shape \[4\], its parameter \[3, 2\]/);
  });

  it('leaves no tensors behind, step after step', () => {
    const built = build();
    step(built, 1);
    const before = liveTensors();
    for (const seed of [2, 3, 4]) step(built, seed);
    expect(liveTensors()).toBe(before);
    built.optimizer.zeroGrad();
    for (const { grad } of built.params) expect(grad).toBeNull();
  });
});
