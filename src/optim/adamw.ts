/** AdamW: Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019, algorithm 2). */

import type { Parameter } from '../nn/index.js';
import {
  adamwPass,
  foreachAdd_,
  foreachAddcdiv_,
  foreachAddcmul_,
  foreachAddScalar_,
  foreachDivScalar_,
  foreachMul_,
  foreachSqrt,
  scope,
  type Tensor,
} from '../torch/index.js';
import { Optimizer } from './optimizer.js';
import type { ParamGroup } from './param-groups.js';

export interface AdamWOptions {
  betas?: readonly [number, number];
  eps?: number;
}

export class AdamW extends Optimizer {
  private readonly betas: readonly [number, number];
  private readonly eps: number;

  constructor(groups: readonly ParamGroup[], options: AdamWOptions = {}) {
    super(groups);
    this.betas = options.betas ?? [0.9, 0.999];
    this.eps = options.eps ?? 1e-8;
  }

  protected settings(): Record<string, unknown> {
    return {
      betas: [...this.betas],
      eps: this.eps,
      amsgrad: false,
      foreach: null,
      maximize: false,
      capturable: false,
    };
  }

  protected stateNames(): readonly string[] {
    return ['step', 'exp_avg', 'exp_avg_sq'];
  }

  protected stepGroup(group: ParamGroup, params: Parameter[], gradients: Tensor[]): void {
    const [beta1, beta2] = this.betas;
    for (const [step, members] of this.byStep(params)) {
      const own = members.map((i) => params[i]);
      const grads = members.map((i) => gradients[i]);
      const means = this.tensors(own, 'exp_avg');
      const squares = this.tensors(own, 'exp_avg_sq');
      const decay = 1 - group.lr * group.weightDecay;
      const rate = group.lr / (1 - beta1 ** step);
      const root = Math.sqrt(1 - beta2 ** step);
      const settings = { decay, beta1, beta2, correction: 1 / root, eps: this.eps, rate };
      if (adamwPass(own, grads, means, squares, settings)) continue;
      scope(() => {
        foreachMul_(own, decay);
        foreachMul_(means, beta1);
        foreachAdd_(means, grads, { alpha: 1 - beta1 });
        foreachMul_(squares, beta2);
        foreachAddcmul_(squares, grads, grads, 1 - beta2);
        const denominators = foreachSqrt(squares);
        foreachDivScalar_(denominators, root);
        foreachAddScalar_(denominators, this.eps);
        foreachAddcdiv_(own, means, denominators, -rate);
      });
    }
  }

  /** Counts this step for each parameter; parameters that sat out earlier steps have counts of their own. */
  private byStep(params: readonly Parameter[]): Map<number, number[]> {
    const result = new Map<number, number[]>();
    for (const [i, parameter] of params.entries()) {
      const state = this.stateOf(parameter);
      const step = ((state.step as number | undefined) ?? 0) + 1;
      state.step = step;
      const members = result.get(step);
      if (members === undefined) result.set(step, [i]);
      else members.push(i);
    }
    return result;
  }
}
