/** Which parameters an optimiser works on, and what is done to their gradients before its step. */

import type { Module, Parameter } from '../nn/index.js';
import {
  foreachMulList_,
  foreachMulScalarList_,
  foreachNorm,
  full,
  noGrad,
  scope,
  stack,
  type Tensor,
} from '../torch/index.js';

export interface ParamGroup {
  params: Parameter[];
  lr: number;
  weightDecay: number;
}

/**
 * Two groups: matrices and larger (weight decay follows its schedule), and biases and vectors (none). Bias
 * tables, position embeddings and class tokens have two or more dimensions and are decayed, as in the original.
 */
export function paramGroups(module: Module): [decayed: ParamGroup, others: ParamGroup] {
  const decayed: Parameter[] = [];
  const others: Parameter[] = [];
  for (const [name, parameter] of module.namedParameters()) {
    if (!parameter.requiresGrad) continue;
    (name.endsWith('.bias') || parameter.ndim === 1 ? others : decayed).push(parameter);
  }
  return [
    { params: decayed, lr: 0, weightDecay: 0 },
    { params: others, lr: 0, weightDecay: 0 },
  ];
}

/**
 * Scales the gradient of each parameter on its own to a norm of at most `limit` (0: leaves it) and returns the
 * norms before that, by name, for parameters that have a gradient.
 */
export function clipGradients(module: Module, limit: number): Map<string, number> {
  return queueClipping(module, limit)();
}

/** The same, but a GPU's norms are read when the result is called: until then nobody waits for it. */
export function queueClipping(module: Module, limit: number): () => Map<string, number> {
  const names: string[] = [];
  const norms = noGrad(() =>
    scope(() => {
      const gradients: Tensor[] = [];
      for (const [name, parameter] of module.namedParameters()) {
        const { grad } = parameter;
        if (grad === null) continue;
        names.push(name);
        gradients.push(grad);
      }
      if (gradients.length === 0) return undefined;
      // All at once: on a GPU hundreds of small norms would be hundreds of launches.
      const norms = stack(foreachNorm(gradients, 2));
      if (limit > 0) (norms.device === 'cpu' ? scaleFromHost : scaleOnDevice)(gradients, norms, limit);
      return norms;
    }),
  );
  return () => {
    if (norms === undefined) return new Map();
    using read = norms;
    const values = read.toFloat32();
    return new Map(names.map((name, i) => [name, values[i]]));
  };
}

/** Scales only the gradients that are too large. norms: float32 [gradients] */
export function scaleFromHost(gradients: readonly Tensor[], norms: Tensor, limit: number): void {
  const scales = Array.from(norms.toFloat32(), (norm) => Math.fround(limit / (norm + 1e-6)));
  const tooLarge = gradients.filter((_, i) => scales[i] < 1);
  if (tooLarge.length > 0)
    foreachMulScalarList_(
      tooLarge,
      scales.filter((scale) => scale < 1),
    );
}

/** The same numbers without reading the norms: those that are not too large, or not a number, are multiplied by 1. */
export function scaleOnDevice(gradients: readonly Tensor[], norms: Tensor, limit: number): void {
  scope(() => {
    const exact = full([], limit, { dtype: 'float64', device: norms.device }).div(
      norms.to({ dtype: 'float64' }).add_(1e-6),
    );
    const scales = exact.to({ dtype: 'float32' });
    foreachMulList_(gradients, scales.maskedFill(scales.isnan(), 1).clamp_(null, 1).unbind(0));
  });
}

/** Leaves the last layers of the heads as they are: their gradients are dropped. */
export function cancelLastLayerGradients(module: Module): void {
  for (const [name, parameter] of module.namedParameters())
    if (name.includes('last_layer')) parameter.grad = null;
}
