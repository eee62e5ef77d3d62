/** Attention through random features of the softmax kernel (Choromanski et al. 2021), linear in the tokens. */

import { Buffer, drop, Linear, Module } from '../../nn/index.js';
import { cat, linalgQr, noGrad, randn, scope, type Tensor } from '../../torch/index.js';
import type { MapObserver } from './attention-map.js';
import type { Grid, StageAttentionOptions } from './options.js';

const EPS = 1e-4;

/** Rows of random orthogonal matrices, as long as those of a Gaussian matrix: [features, dim]. */
function orthogonalFeatures(features: number, dim: number): Tensor {
  return scope(() => {
    const blocks = Array.from({ length: Math.ceil(features / dim) }, () => {
      const [q, r] = linalgQr(randn([dim, dim]));
      // QR's own choice of signs is not uniform; with those of r's diagonal it is.
      return q.mul(r.diagonal().sign());
    });
    const directions = cat(blocks, 0).narrow(0, 0, features);
    return directions.mul(randn([features, dim]).norm(2, [1], true));
  });
}

class RandomFeatures extends Module {
  /** [features, headDim] */
  readonly projectionMatrix: Buffer;

  constructor(features: number, headDim: number) {
    super();
    this.projectionMatrix = new Buffer(orthogonalFeatures(features, headDim));
  }

  redraw(): void {
    noGrad(() =>
      scope(() => {
        const [features, headDim] = this.projectionMatrix.shape;
        this.projectionMatrix.copy_(orthogonalFeatures(features, headDim));
      }),
    );
  }

  /** q, k: [B, H, L, headDim] -> their features, [B, H, L, features] */
  forward(q: Tensor, k: Tensor): [Tensor, Tensor] {
    return scope(() => {
      // A copy, since the matrix may be drawn anew before the gradients are computed.
      const matrix = this.projectionMatrix.clone().to({ dtype: q.dtype });
      const [features, headDim] = matrix.shape;
      const map = (x: Tensor, dims: readonly number[]) => {
        const projected = x.mul(headDim ** -0.25).matmul(matrix.t());
        const length = x
          .square()
          .sum([-1], true)
          .mul(0.5 * headDim ** -0.5);
        const largest = projected.amax(dims, true);
        return projected
          .sub(length)
          .sub(largest)
          .exp()
          .add(EPS)
          .mul(features ** -0.5);
      };
      return [map(q, [-1]), map(k, [0, 1, 2, 3])];
    });
  }
}

export class PerformerAttention extends Module {
  readonly fastAttention: RandomFeatures;
  readonly qkv: Linear;
  readonly proj: Linear;

  constructor(private readonly options: StageAttentionOptions) {
    super();
    const { dim, numHeads, features, qkvBias } = options;
    this.fastAttention = new RandomFeatures(features, dim / numHeads);
    this.qkv = new Linear(dim, 3 * dim, { bias: qkvBias });
    this.proj = new Linear(dim, dim);
  }

  /** x: [B, L, dim] -> the same shape; `observe` is given what amounts to its probabilities, [B, heads, L, L] */
  forward(x: Tensor, _grid: Grid, observe?: MapObserver): Tensor {
    return scope(() => {
      const { numHeads, dim, dropRate } = this.options;
      const [batch, length] = x.sizes(3);
      const [q, k, v] = this.qkv
        .forward(x)
        .view([batch, length, 3, numHeads, dim / numHeads])
        .permute([2, 0, 3, 1, 4])
        .unbind(0);
      const [queries, keys] = this.fastAttention.forward(q, k);
      const total = queries.matmul(keys.sum([2]).unsqueeze(-1)); // [B, H, L, 1]
      observe?.(queries.matmul(keys.transpose(-2, -1)).div(total));
      const mixed = queries.matmul(keys.transpose(-2, -1).matmul(v)).div(total);
      const merged = mixed.transpose(1, 2).reshape([batch, length, dim]);
      return drop(this.proj.forward(merged), dropRate, this.training);
    });
  }

  redraw(): void {
    this.fastAttention.redraw();
  }
}
