/** Which parameters an optimiser works on, and what is done to their gradients before its step. */

import type { Module, Parameter } from '../nn/index.js';
import { foreachMulScalarList_, foreachNorm, noGrad, scope, stack } from '../torch/index.js';

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
  return noGrad(() =>
    scope(() => {
      const names: string[] = [];
      const gradients = [];
      for (const [name, parameter] of module.namedParameters()) {
        const { grad } = parameter;
        if (grad === null) continue;
        names.push(name);
        gradients.push(grad);
      }
      if (gradients.length === 0) return new Map();
      // All at once: on a GPU hundreds of small norms would be hundreds of launches.
      const norms = stack(foreachNorm(gradients, 2)).toFloat32();
      const scales = Array.from(norms, (norm) => Math.fround(limit / (norm + 1e-6)));
      const tooLarge = gradients.filter((_, i) => limit > 0 && scales[i] < 1);
      if (tooLarge.length > 0)
        foreachMulScalarList_(
          tooLarge,
          scales.filter((scale) => scale < 1),
        );
      return new Map(names.map((name, i) => [name, norms[i]]));
    }),
  );
}

/** Leaves the last layers of the heads as they are: their gradients are dropped. */
export function cancelLastLayerGradients(module: Module): void {
  for (const [name, parameter] of module.namedParameters())
    if (name.includes('last_layer')) parameter.grad = null;
}
