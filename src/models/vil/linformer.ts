/** Attention to a fixed number of mixtures of tokens (Wang et al. 2020). It knows one size of picture only. */

import { UserError } from '../../errors.js';
import { drop, fanInUniform, Linear, Module, Parameter } from '../../nn/index.js';
import { empty, scope, type Tensor } from '../../torch/index.js';
import type { Grid, StageAttentionOptions } from './options.js';

export class LinformerAttention extends Module {
  /** [globals + rows * columns, features] */
  readonly projK: Parameter;
  /** the very tensor of `projK` where both are shared */
  readonly projV: Parameter;
  readonly query: Linear;
  readonly kv: Linear;
  readonly proj: Linear;

  constructor(private readonly options: StageAttentionOptions) {
    super();
    const { dim, globals, grid, features, qkvBias } = options;
    const shape = [globals + grid[0] * grid[1], features];
    const drawn = () => new Parameter(fanInUniform(empty(shape), features));
    this.projK = drawn();
    this.projV = options.shareKv ? this.projK : drawn();
    this.query = new Linear(dim, dim, { bias: qkvBias });
    this.kv = new Linear(dim, 2 * dim, { bias: qkvBias });
    this.proj = new Linear(dim, dim);
  }

  /** x: [B, globals + rows * columns, dim] -> the same shape. What it sees are no tokens: there is no map. */
  forward(x: Tensor, grid: Grid): Tensor {
    return scope(() => {
      const { numHeads, dim, grid: made, features, dropRate } = this.options;
      const [batch, length] = x.sizes(3);
      if (length !== this.projK.shape[0])
        throw new UserError(
          'config',
          `ATTN_TYPE linformer is made for maps of ${made.join(' x ')} tokens and cannot take ${grid.join(' x ')}: ` +
            'give pictures of the size of construction, and no crops of other sizes.',
        );
      const headDim = dim / numHeads;
      const q = this.query
        .forward(x)
        .mul(headDim ** -0.5)
        .view([batch, length, numHeads, headDim])
        .transpose(1, 2);
      const mixed = this.kv
        .forward(x)
        .view([batch, length, 2, dim])
        .unbind(2)
        .map((part, i) => (i === 0 ? this.projK : this.projV).t().matmul(part)); // each [B, features, dim]
      const [k, v] = mixed.map((part) => part.view([batch, features, numHeads, headDim]).transpose(1, 2));
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
