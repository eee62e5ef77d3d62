/** AdamW: Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019, algorithm 2). */

import type { Parameter } from '../nn/index.js';
import {
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
      scope(() => {
        for (const [p, g, m, v] of pieces(own, grads, means, squares))
          scope(() => {
            foreachMul_(p, 1 - group.lr * group.weightDecay);
            foreachMul_(m, beta1);
            foreachAdd_(m, g, { alpha: 1 - beta1 });
            foreachMul_(v, beta2);
            foreachAddcmul_(v, g, g, 1 - beta2);
            const denominators = foreachSqrt(v);
            foreachDivScalar_(denominators, Math.sqrt(1 - beta2 ** step));
            foreachAddScalar_(denominators, this.eps);
            foreachAddcdiv_(p, m, denominators, -group.lr / (1 - beta1 ** step));
          });
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

/** Elements of a piece: with its gradient and two moments it stays in a CPU's cache through all nine operations. */
const PIECE = 1 << 19;

/**
 * The same rows of all four lists: on a CPU large tensors are cut, so that memory is passed over once and not nine
 * times; the small ones, and everything on a GPU, stay one list.
 */
function pieces(...lists: Tensor[][]): Tensor[][][] {
  const [params] = lists;
  const isLarge = (tensor: Tensor) => tensor.device === 'cpu' && tensor.numel > PIECE;
  const small = lists.map((list) => list.filter((_, i) => !isLarge(params[i])));
  const result = small[0].length > 0 ? [small] : [];
  for (const [i, { numel }] of params.entries()) {
    if (!isLarge(params[i])) continue;
    const rows = lists.map((list) => list[i].reshape([numel]));
    for (let start = 0; start < numel; start += PIECE)
      result.push(rows.map((row) => [row.narrow(0, start, Math.min(PIECE, numel - start))]));
  }
  return result;
}
