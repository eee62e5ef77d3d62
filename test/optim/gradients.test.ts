/** Which parameters are trained how, and what happens to gradients before the step. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchNorm, LayerNorm, Linear, Module, Parameter, WeightNormLinear } from '../../src/nn/index.js';
import { cancelLastLayerGradients, clipGradients, GradScaler, paramGroups } from '../../src/optim/index.js';
import { scaleFromHost, scaleOnDevice } from '../../src/optim/param-groups.js';
import {
  foreachNorm,
  liveTensors,
  manualSeed,
  randn,
  scope,
  stack,
  type Tensor,
  tensor,
  zeros,
} from '../../src/torch/index.js';

class Head extends Module {
  readonly mlp = new Linear(2, 2);
  readonly lastLayer = new WeightNormLinear(2, 2, { trainGain: false });
}

class Network extends Module {
  readonly clsToken = new Parameter(zeros([1, 1, 2]));
  readonly frozen = new Parameter(zeros([2, 2]), { trainable: false });
  readonly gain = new Parameter(zeros([3]));
  readonly fc = new Linear(2, 2);
  readonly norm = new LayerNorm(2);
  readonly bn = new BatchNorm(2);
  readonly head = new Head();
}

const namesOf = (network: Module, params: readonly Parameter[]) => {
  const names = new Map([...network.namedParameters()].map(([name, parameter]) => [parameter, name]));
  return params.map((parameter) => names.get(parameter));
};

describe('paramGroups', () => {
  it('decays what has two or more dimensions; vectors and biases are not', () => {
    const network = new Network();
    const [decayed, others] = paramGroups(network);
    expect(namesOf(network, decayed.params)).toEqual([
      'cls_token',
      'fc.weight',
      'head.mlp.weight',
      'head.last_layer.weight_v',
    ]);
    expect(namesOf(network, others.params)).toEqual([
      'gain',
      'fc.bias',
      'norm.weight',
      'norm.bias',
      'bn.weight',
      'bn.bias',
      'head.mlp.bias',
    ]);
    expect([decayed.weightDecay, others.weightDecay]).toEqual([0, 0]);
  });

  it('leaves out what is not trained', () => {
    const network = new Network();
    const all = paramGroups(network).flatMap(({ params }) => params);
    expect(all).not.toContain(network.frozen);
    expect(all).not.toContain(network.head.lastLayer.weightG);
  });
});

/** Sets gradients by name; others have none. */
function withGradients(gradients: Record<string, number[]>): Network {
  const network = new Network();
  const parameters = network.namedParameters();
  for (const [name, values] of Object.entries(gradients)) {
    const parameter = parameters.get(name) as Parameter;
    parameter.grad = tensor(values).view([...parameter.shape]);
  }
  return network;
}

const gradientOf = (network: Network, name: string) =>
  Array.from(network.namedParameters().get(name)?.grad?.toArray() ?? [], Number);

describe('clipGradients', () => {
  it('scales each parameter on its own, and returns the norms before', () => {
    const network = withGradients({ 'fc.weight': [3, 0, 0, 4], 'fc.bias': [0.3, 0.4], gain: [0, 0, 0] });
    const norms = clipGradients(network, 1);
    expect([...norms.keys()]).toEqual(['gain', 'fc.weight', 'fc.bias']);
    expect(norms.get('fc.weight')).toBe(5);
    expect(norms.get('fc.bias')).toBeCloseTo(0.5, 6);
    expect(norms.get('gain')).toBe(0);
    const scale = 1 / (5 + 1e-6);
    for (const [i, value] of gradientOf(network, 'fc.weight').entries())
      expect(value).toBeCloseTo([3, 0, 0, 4][i] * scale, 6);
    expect(gradientOf(network, 'fc.bias')).toEqual([Math.fround(0.3), Math.fround(0.4)]);
    expect(gradientOf(network, 'gain')).toEqual([0, 0, 0]);
  });

  it('only measures with a limit of 0', () => {
    const network = withGradients({ 'fc.bias': [30, 40] });
    expect([...clipGradients(network, 0)]).toEqual([['fc.bias', 50]]);
    expect(gradientOf(network, 'fc.bias')).toEqual([30, 40]);
  });

  it('gives every gradient what it would get alone', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.double({ min: 0.01, max: 3, noNaN: true }),
        (seed, limit) => {
          manualSeed(seed);
          scope(() => {
            const network = new Network();
            const alone = new Map<string, Tensor>();
            for (const [name, parameter] of network.namedParameters()) {
              const gradient = randn([...parameter.shape]);
              parameter.grad = gradient.clone();
              const norm = gradient.normAll(2).item();
              const scale = limit / (norm + 1e-6);
              alone.set(name, scale < 1 ? gradient.mul(Math.fround(scale)) : gradient);
            }
            clipGradients(network, limit);
            for (const [name, value] of alone)
              for (const [i, own] of gradientOf(network, name).entries())
                expect(own).toBeCloseTo(Number(value.reshape([-1]).toArray()[i]), 6);
          });
        },
      ),
      { numRuns: 20, seed: 3 },
    );
  });

  it('gives the same bits whether the scales are found by the host or on the device', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.double({ min: 0.01, max: 20, noNaN: true }),
        (seed, limit) => {
          manualSeed(seed);
          scope(() => {
            const ends = [
              [Number.NaN, 1],
              [Infinity, 2],
              [0, 0],
              [1e-30, 0],
            ].map((values) => tensor(values));
            const drawn = [1, 7, 64, 300, 3000].map((size) => randn([size]).mul_(2 ** (size % 5)));
            const [one, other] = [0, 1].map(() => [...ends, ...drawn].map((x) => x.clone()));
            const norms = stack(foreachNorm(one, 2));
            scaleFromHost(one, norms, limit);
            scaleOnDevice(other, norms, limit);
            for (const [i, x] of one.entries()) expect(other[i].toArray()).toEqual(x.toArray());
          });
        },
      ),
      { numRuns: 50, seed: 5 },
    );
  });

  it('passes over parameters without a gradient', () => {
    expect(clipGradients(new Network(), 1).size).toBe(0);
  });

  it('shows what is not finite', () => {
    const norms = clipGradients(withGradients({ 'fc.bias': [Number.NaN, 1], gain: [Infinity, 0, 0] }), 1);
    expect(norms.get('fc.bias')).toBeNaN();
    expect(norms.get('gain')).toBe(Infinity);
  });

  it('leaves no tensors behind', () => {
    const network = withGradients({ 'fc.weight': [3, 0, 0, 4] });
    const before = liveTensors();
    clipGradients(network, 1);
    expect(liveTensors()).toBe(before);
  });
});

describe('cancelLastLayerGradients', () => {
  it('drops those of the last layers, and no others', () => {
    const network = withGradients({ 'head.last_layer.weight_v': [1, 2, 3, 4], 'head.mlp.bias': [1, 2] });
    cancelLastLayerGradients(network);
    expect(network.head.lastLayer.weightV.grad).toBeNull();
    expect(gradientOf(network, 'head.mlp.bias')).toEqual([1, 2]);
  });
});

describe('GradScaler', () => {
  it('divides gradients by its scale, and says whether all are finite', () => {
    const network = withGradients({ 'fc.bias': [65_536, -131_072], gain: [0, 0, 65_536] });
    const scaler = new GradScaler();
    expect(scaler.unscale(network)).toBe(true);
    expect(gradientOf(network, 'fc.bias')).toEqual([1, -2]);
    expect(gradientOf(network, 'gain')).toEqual([0, 0, 1]);
    for (const value of [Infinity, -Infinity, Number.NaN])
      expect(new GradScaler().unscale(withGradients({ 'fc.bias': [1, 2], gain: [0, value, 0] }))).toBe(false);
    expect(new GradScaler().unscale(new Network())).toBe(true);
  });

  it('is not fooled by infinities that cancel out', () => {
    const opposite = withGradients({ 'fc.bias': [Infinity, -Infinity] });
    expect(new GradScaler().unscale(opposite)).toBe(false);
  });

  it('halves after a bad step, doubles after 2000 good ones in a row', () => {
    const scaler = new GradScaler();
    const first = scaler.scale;
    scaler.update(false);
    expect(scaler.scale).toBe(first / 2);
    for (let i = 0; i < 1999; i++) scaler.update(true);
    expect(scaler.scale).toBe(first / 2);
    scaler.update(false);
    expect(scaler.scale).toBe(first / 4);
    for (let i = 0; i < 2000; i++) scaler.update(true);
    expect(scaler.scale).toBe(first / 2);
  });

  it('keeps its state under the names of PyTorch', () => {
    const scaler = new GradScaler();
    scaler.update(false);
    for (let i = 0; i < 7; i++) scaler.update(true);
    const state = scaler.stateDict();
    expect(state).toEqual({
      scale: 32_768,
      growth_factor: 2,
      backoff_factor: 0.5,
      growth_interval: 2000,
      _growth_tracker: 7,
    });
    const other = new GradScaler();
    other.loadStateDict(state);
    expect(other.stateDict()).toEqual(state);
    for (let i = 0; i < 1993; i++) other.update(true);
    expect(other.scale).toBe(65_536);
  });
});
