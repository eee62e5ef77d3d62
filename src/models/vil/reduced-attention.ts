/** Attention to a reduced map (PVT's spatial reduction, Wang et al. 2021): `srformer`. */

import { drop, fanInUniform, Linear, Module, Parameter } from '../../nn/index.js';
import { cat, conv2d, empty, scope, type Tensor } from '../../torch/index.js';
import type { Grid, StageAttentionOptions } from './options.js';

/** [dim, dim, rate, rate] */
class Reduction extends Module {
  readonly weight: Parameter;

  constructor(
    dim: number,
    private readonly rate: number,
  ) {
    super();
    this.weight = new Parameter(fanInUniform(empty([dim, dim, rate, rate]), dim * rate * rate));
  }

  /** x: [B, dim, H, W] -> [B, dim, H/rate, W/rate]; maps below one cell are filled up with zeros */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const [, , height, width] = x.sizes(4);
      const [below, right] = [height, width].map((size) => Math.max(0, this.rate - size));
      const full = below + right === 0 ? x : x.constantPadNd([0, right, 0, below]);
      return conv2d(full, this.weight, null, this.rate);
    });
  }
}

export class ReducedAttention extends Module {
  readonly query: Linear;
  readonly kv: Linear;
  readonly proj: Linear;
  readonly projSr: Reduction;

  constructor(private readonly options: StageAttentionOptions) {
    super();
    const { dim, features, qkvBias } = options;
    this.query = new Linear(dim, dim, { bias: qkvBias });
    this.kv = new Linear(dim, 2 * dim, { bias: qkvBias });
    this.proj = new Linear(dim, dim);
    this.projSr = new Reduction(dim, features);
  }

  /** x: [B, globals + rows * columns, dim] -> the same shape. What it sees are no tokens: there is no map. */
  forward(x: Tensor, grid: Grid): Tensor {
    return scope(() => {
      const { numHeads, dim, globals, dropRate } = this.options;
      const [batch, length] = x.sizes(3);
      const headDim = dim / numHeads;
      const split = (y: Tensor) => y.view([batch, -1, numHeads, headDim]).transpose(1, 2);
      const q = split(this.query.forward(x).mul(headDim ** -0.5));
      const map = x
        .narrow(1, globals, length - globals)
        .transpose(1, 2)
        .reshape([batch, dim, grid[0], grid[1]]);
      const reduced = normalised(this.projSr.forward(map).flatten(2)).transpose(1, 2);
      const seen = globals === 0 ? reduced : cat([x.narrow(1, 0, globals), reduced], 1);
      const [k, v] = this.kv
        .forward(seen)
        .view([batch, -1, 2, dim])
        .unbind(2)
        .map((part) => split(part.contiguous()));
      const merged = q
        .matmul(k.transpose(-2, -1))
        .softmax(-1)
        .matmul(v)
        .transpose(1, 2)
        .reshape([batch, length, dim]);
      return drop(this.proj.forward(merged), dropRate, this.training);
    });
  }
}

/** Instance normalisation over places, without weights; x: [B, dim, places]. A single place becomes 0. */
function normalised(x: Tensor): Tensor {
  return scope(() => {
    const centred = x.sub(x.mean([2], true));
    return centred.mul(centred.square().mean([2], true).add(1e-5).rsqrt());
  });
}
