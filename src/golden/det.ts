/** Weights and inputs that follow from their names, so that full-size networks need no stored numbers. */

import type { Module } from '../nn/index.js';
import { noGrad, scope, type Tensor, tensor } from '../torch/index.js';

const encoder = new TextEncoder();

/** 32-bit FNV-1a of the UTF-8 bytes. */
export function fnv1a(text: string): number {
  let hash = 2166136261;
  for (const byte of encoder.encode(text)) hash = Math.imul(hash ^ byte, 16777619);
  return hash >>> 0;
}

/** `count` values of mulberry32 from `seed`, each u mapped to float32((u*2 - 1)*a + b), computed in float64. */
function uniform(seed: number, count: number, a: number, b: number): Float32Array {
  const values = new Float32Array(count);
  let state = seed | 0;
  for (let i = 0; i < count; i++) {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (Math.imul(t ^ (t >>> 7), t | 61) + t) ^ t;
    values[i] = ((((t ^ (t >>> 14)) >>> 0) / 4294967296) * 2 - 1) * a + b;
  }
  return values;
}

const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** An input picture or matrix: uniform in lo..hi. */
export function detinput(name: string, shape: readonly number[], lo = -2, hi = 2): Tensor {
  return tensor(uniform(fnv1a(name), count(shape), (hi - lo) / 2, (hi + lo) / 2), { shape });
}

const LEFT_AS_BUILT = new Set([
  'relative_position_index',
  'rel_pos_idx',
  'relative_position_index_xwin',
  'num_batches_tracked',
]);

/** Scale and offset by the last part of the name; undefined where the tensor stays as it was built. */
function range(name: string, shape: readonly number[]): [a: number, b: number] | undefined {
  const leaf = name.slice(name.lastIndexOf('.') + 1);
  if (LEFT_AS_BUILT.has(leaf)) return undefined;
  if (leaf === 'running_mean') return [0.1, 0];
  if (leaf === 'running_var') return [0.2, 1];
  if (leaf === 'weight_g') return [0, 1];
  if (leaf.includes('bias_table') || leaf.includes('relative_position_bias')) return [0.5, 0];
  if (leaf.includes('pos_embed') || leaf === 'cls_token') return [0.02 * Math.sqrt(3), 0];
  if (shape.length <= 1) return leaf === 'bias' ? [0.02, 0] : [0.1, 1];
  return [Math.sqrt(3 / count(shape.slice(1))), 0];
}

/** The values of one weight, or undefined where it stays as it was built. */
export function detparam(name: string, shape: readonly number[], salt = ''): Float32Array | undefined {
  const ab = range(name, shape);
  return ab && uniform(fnv1a(salt + name), count(shape), ab[0], ab[1]);
}

/** Gives every tensor of the module its deterministic value; tied tensors take that of their first name. */
export function fillDeterministic(module: Module, salt = ''): void {
  const seen = new Set<Tensor>();
  noGrad(() => {
    for (const [name, target] of module.stateDict()) {
      if (seen.has(target)) continue;
      seen.add(target);
      const values = detparam(name, target.shape, salt);
      if (values !== undefined) scope(() => void target.copy_(tensor(values, { shape: target.shape })));
    }
  });
}
