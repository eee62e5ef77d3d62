/** Swin by the addon's operators against the same network by libtorch's, one by one. */

import { describe, expect, it } from 'vitest';
import { type Backbone, buildBackbone } from '../../../src/models/index.js';
import type { Module } from '../../../src/nn/index.js';
import {
  autocast,
  manualSeed,
  observeOperators,
  randn,
  scope,
  type Tensor,
} from '../../../src/torch/index.js';

/** Two stages with windows of 4 and shifts; maps of 11 x 11 are padded in both. */
function network(): Backbone & Module {
  manualSeed(5);
  const spec = { DIM_EMBED: 24, DEPTHS: [2, 2], NUM_HEADS: [2, 3], WINDOW_SIZE: 4 };
  return buildBackbone({ arch: 'swin_tiny', dropPathRate: 0, spec });
}

/** Features and all gradients. */
function outcome(swin: Backbone & Module, x: Tensor, weights: Tensor): Map<string, Float32Array> {
  return scope(() => {
    swin.zeroGrad();
    const { tokens } = swin.forwardFeatures(x);
    tokens.to({ dtype: 'float32' }).mul(weights).sumAll().backward();
    const result = new Map([['tokens', tokens.toFloat32()]]);
    for (const [name, { grad }] of swin.namedParameters())
      if (grad !== null) result.set(name, grad.toFloat32());
    return result;
  });
}

/** The largest difference beside the largest value. */
function apart(a: Float32Array, b: Float32Array): number {
  const off = a.map((value, i) => Math.abs(value - b[i]));
  return off.reduce((x, y) => Math.max(x, y)) / b.reduce((x, y) => Math.max(x, Math.abs(y)), 1e-6);
}

describe('Swin', () => {
  it.each([
    ['float32', 1e-4],
    ['bfloat16', 0.1],
  ] as const)('gives the same features and gradients in %s either way', (dtype, tolerance) => {
    const swin = network();
    const x = randn([2, 3, 44, 44]);
    const weights = randn([2, 36, 48]);
    const run = () =>
      dtype === 'float32'
        ? outcome(swin, x, weights)
        : autocast({ device: 'cpu', dtype }, () => outcome(swin, x, weights));
    const mine = run();
    const calls = new Set<string>();
    const plain = observeOperators(({ name }) => calls.add(name), run);
    expect(calls).toContain('aten::softmax');
    expect([...mine.keys()]).toEqual([...plain.keys()]);
    for (const [name, values] of plain)
      expect(apart(mine.get(name) as Float32Array, values), name).toBeLessThanOrEqual(tolerance);
  });
});
