/** The transformer's feed-forward part, and what is dropped in training. */

import { dropout, empty, gelu, scope, type Tensor } from '../torch/index.js';
import { Linear } from './linear.js';
import { Module } from './module.js';

/** Two linear maps around an exact (erf) GELU. */
export class Mlp extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;
  private readonly dropRate: number;

  constructor(options: { dim: number; hiddenDim: number; outDim?: number; dropRate?: number }) {
    super();
    this.fc1 = new Linear(options.dim, options.hiddenDim);
    this.fc2 = new Linear(options.hiddenDim, options.outDim ?? options.dim);
    this.dropRate = options.dropRate ?? 0;
  }

  /** x: [..., dim] -> [..., outDim] */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const hidden = drop(gelu(this.fc1.forward(x)), this.dropRate, this.training);
      return drop(this.fc2.forward(hidden), this.dropRate, this.training);
    });
  }
}

/** Dropout that costs nothing where there is none. */
export function drop(x: Tensor, rate: number, training: boolean): Tensor {
  return rate > 0 && training ? dropout(x, rate, true) : x;
}

/** Stochastic depth (Huang et al. 2016): a sample's residual branch is left out with probability `rate`. */
export class DropPath extends Module {
  constructor(private readonly rate: number) {
    super();
  }

  /** x + branch, both [B, ...]; kept branches are scaled by 1/(1-rate) */
  add(x: Tensor, branch: Tensor): Tensor {
    if (this.rate === 0 || !this.training) return x.add(branch);
    return scope(() => {
      const keep = 1 - this.rate;
      const shape = branch.shape.map((size, i) => (i === 0 ? size : 1));
      const mask = empty(shape, { dtype: branch.dtype, device: branch.device }).bernoulli_(keep).div_(keep);
      return x.addcmul(branch, mask);
    });
  }
}
