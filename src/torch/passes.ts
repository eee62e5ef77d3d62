/** The addon's single passes over logits and parameters on CPUs, for code that takes no part in autograd. */

import { type Handle, native } from './binding.js';
import { Tensor } from './ops.gen.js';

const handles = (tensors: readonly Tensor[]): Handle[] => tensors.map(({ handle }) => handle);

/**
 * Loss and gradient of rows of logits: Σ over rows of weight (total logsumexp(factor x) - q (factor x)). x: [rows, K] for which
 * `fits` holds; q: [rows, K] float32; total: Σ q of a row, one for all or [rows, 1]. Writes the gradient with respect to x into
 * `gradient`, of x's shape and dtype; the result is the loss, a float32 scalar.
 */
export function crossEntropyPass(
  x: Tensor,
  q: Tensor,
  total: number | Tensor,
  options: { factor: number; weight: number; gradient: Tensor },
): Tensor {
  const [one, each] = typeof total === 'number' ? [total, 0] : [0, total.handle];
  const { factor, weight, gradient } = options;
  return new Tensor(native.crossEntropy(x.handle, q.handle, one, each, factor, weight, gradient.handle));
}

/** softmax(factor (x - center)) in float32. x: [rows, K] for which `fits` holds; center: [1, K] float32 */
export function sharpenPass(x: Tensor, center: Tensor, factor: number): Tensor {
  return new Tensor(native.sharpen(x.handle, center.handle, factor));
}

/**
 * m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g², p <- decay p - rate m / (correction √v + eps), for lists of
 * tensors. False, and nothing done, where one of them is not contiguous float32 on the CPU.
 */
export function adamwPass(
  parameters: readonly Tensor[],
  gradients: readonly Tensor[],
  means: readonly Tensor[],
  squares: readonly Tensor[],
  settings: { decay: number; beta1: number; beta2: number; correction: number; eps: number; rate: number },
): boolean {
  const { decay, beta1, beta2, correction, eps, rate } = settings;
  return native.adamw(
    handles(parameters),
    handles(gradients),
    handles(means),
    handles(squares),
    decay,
    beta1,
    beta2,
    correction,
    eps,
    rate,
  );
}

/** average <- momentum average + (1 - momentum) value, for lists of tensors; false as in `adamwPass`. */
export function averagePass(
  averages: readonly Tensor[],
  values: readonly Tensor[],
  momentum: number,
): boolean {
  return native.moveAverage(handles(averages), handles(values), momentum);
}
