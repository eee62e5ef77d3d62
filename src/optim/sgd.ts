/** Stochastic gradient descent with momentum, plain and layer-wise scaled. */

import type { Parameter } from '../nn/index.js';
import { foreachAdd_, foreachMul_, scope, type Tensor } from '../torch/index.js';
import { Optimizer } from './optimizer.js';
import type { ParamGroup } from './param-groups.js';

/** PyTorch's SGD: the buffer starts as the first gradient. */
export class Sgd extends Optimizer {
  constructor(
    groups: readonly ParamGroup[],
    private readonly momentum = 0.9,
  ) {
    super(groups);
  }

  protected settings(): Record<string, unknown> {
    return {
      momentum: this.momentum,
      dampening: 0,
      nesterov: false,
      maximize: false,
      foreach: null,
      differentiable: false,
    };
  }

  protected stateNames(): readonly string[] {
    return ['momentum_buffer'];
  }

  protected stepGroup(group: ParamGroup, params: Parameter[], gradients: Tensor[]): void {
    scope(() => {
      const decayed =
        group.weightDecay === 0
          ? gradients
          : gradients.map((gradient, i) => gradient.add(params[i], { alpha: group.weightDecay }));
      // Zeros times the momentum plus the gradient: the first step needs no case of its own.
      const buffers = this.tensors(params, 'momentum_buffer');
      foreachMul_(buffers, this.momentum);
      foreachAdd_(buffers, decayed);
      foreachAdd_(params, buffers, { alpha: -group.lr });
    });
  }
}

/** LARS (You et al. 2017): matrices are decayed and scaled by |w| / |update|, vectors are not. */
export class Lars extends Optimizer {
  constructor(
    groups: readonly ParamGroup[],
    private readonly momentum = 0.9,
    private readonly eta = 0.001,
  ) {
    super(groups);
  }

  protected settings(): Record<string, unknown> {
    return {
      momentum: this.momentum,
      eta: this.eta,
      weight_decay_filter: null,
      lars_adaptation_filter: null,
    };
  }

  protected stateNames(): readonly string[] {
    return ['mu'];
  }

  protected stepGroup(group: ParamGroup, params: Parameter[], gradients: Tensor[]): void {
    scope(() => {
      const updates = gradients.map((gradient, i) =>
        params[i].ndim === 1 ? gradient : this.adapted(gradient, params[i], group.weightDecay),
      );
      const buffers = this.tensors(params, 'mu');
      foreachMul_(buffers, this.momentum);
      foreachAdd_(buffers, updates);
      foreachAdd_(params, buffers, { alpha: -group.lr });
    });
  }

  private adapted(gradient: Tensor, parameter: Parameter, weightDecay: number): Tensor {
    return scope(() => {
      const update = gradient.add(parameter, { alpha: weightDecay });
      const weightNorm = parameter.normAll(2).item();
      const updateNorm = update.normAll(2).item();
      return weightNorm > 0 && updateNorm > 0 ? update.mul((this.eta * weightNorm) / updateNorm) : update;
    });
  }
}
