/** The addon's own operators: several of libtorch's in one pass over memory, with their gradients, for CPUs. */

import { isObserved, type TensorBase } from './base.js';
import { native } from './binding.js';
import { Tensor } from './ops.gen.js';

/** Whether the operators of this file take `x`, whose weights are like `parameter`; if not, libtorch's do. */
export function fits(x: TensorBase, parameter?: TensorBase): boolean {
  return (
    x.device === 'cpu' &&
    (parameter === undefined || parameter.dtype === 'float32') &&
    (x.dtype === 'float32' || x.dtype === 'bfloat16') &&
    !isObserved()
  );
}

/** x: [..., D] -> the same, by the statistics of its last dimension; weight, bias: [D]. All sums are float32. */
export function fusedLayerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  return new Tensor(native.layerNorm(x.handle, weight.handle, bias.handle, eps));
}

/** x Φ(x), with the normal distribution's Φ: the exact GELU, not the one by tanh. */
export function gelu(x: Tensor): Tensor {
  return fits(x) ? new Tensor(native.gelu(x.handle)) : x.gelu();
}

/** gain v / |v| by rows, rounded to bfloat16. v: [rows, D], gain: [rows, 1], float32 on the CPU */
export function halfWeightNorm(v: Tensor, gain: Tensor): Tensor {
  return new Tensor(native.weightNorm(v.handle, gain.handle));
}

/**
 * softmax(q kᵀ / √d + bias) v inside each window x window tokens of a map that is shifted by `shift` cyclically, and
 * padded up to whole windows. Pieces that the shift brought together do not see one another (-100).
 *
 * qkv: [B, H, W, 3 heads d], q, k and v one after the other; outside: [3 heads d] of tokens that pad the map, or null
 * for zeros; bias: [heads, window², window²] -> [B, H, W, heads d]
 */
export function fusedWindowAttention(
  qkv: Tensor,
  outside: Tensor | null,
  bias: Tensor,
  options: { window: number; shift: number },
): Tensor {
  return new Tensor(
    native.windowAttention(qkv.handle, outside?.handle ?? 0, bias.handle, options.window, options.shift),
  );
}

export type KernelsName = 'plain' | 'avx2' | 'avx512';

/** Which kernels this process runs from now on, null: the best that the machine has; false where it has none such. */
export function useKernels(name: KernelsName | null): boolean {
  return native.useKernels(name) !== null;
}
