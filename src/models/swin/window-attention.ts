/** Multi-head self-attention inside windows, with a learned bias for each relative position. */

import { Buffer, drop, Linear, Module, Parameter, truncatedNormal } from '../../nn/index.js';
import { scope, type Tensor, zeros } from '../../torch/index.js';
import { relativePositionIndex } from '../layers/windows.js';

export interface WindowAttentionOptions {
  dim: number;
  numHeads: number;
  windowSize: number;
  qkvBias: boolean;
  attnDropRate: number;
  dropRate: number;
}

/** softmax(q kᵀ / √d + B) v. Swin paper, eq. 4. */
export class WindowAttention extends Module {
  /** [(2 windowSize - 1)², numHeads] */
  readonly relativePositionBiasTable: Parameter;
  readonly relativePositionIndex: Buffer;
  readonly qkv: Linear;
  readonly proj: Linear;

  constructor(private readonly options: WindowAttentionOptions) {
    super();
    const { dim, numHeads, windowSize } = options;
    this.relativePositionBiasTable = new Parameter(
      truncatedNormal(zeros([(2 * windowSize - 1) ** 2, numHeads]), 0.02),
    );
    this.relativePositionIndex = new Buffer(relativePositionIndex(windowSize));
    this.qkv = new Linear(dim, 3 * dim, { bias: options.qkvBias });
    this.proj = new Linear(dim, dim);
  }

  /**
   * x: [B * windows, L, dim], mask: [windows, L, L] or null -> [B * windows, L, dim]; `observe` is given the
   * probabilities [B * windows, heads, L, L].
   */
  forward(x: Tensor, mask: Tensor | null, observe?: (probabilities: Tensor) => void): Tensor {
    return scope(() => {
      const { numHeads, dim, attnDropRate, dropRate } = this.options;
      const [count, length] = x.sizes(3);
      const headDim = dim / numHeads;
      const [q, k, v] = this.qkv
        .forward(x)
        .view([count, length, 3, numHeads, headDim])
        .permute([2, 0, 3, 1, 4])
        .contiguous()
        .unbind(0); // each [count, heads, L, headDim]
      const scores = q.mul(headDim ** -0.5).matmul(k.transpose(-2, -1));
      const probabilities = this.biased(scores, mask).softmax(-1);
      observe?.(probabilities);
      const mixed = drop(probabilities, attnDropRate, this.training).matmul(v);
      const merged = mixed.transpose(1, 2).reshape([count, length, dim]);
      return drop(this.proj.forward(merged), dropRate, this.training);
    });
  }

  /** scores: [B * windows, heads, L, L]; changed in place, nothing else needs them. */
  private biased(scores: Tensor, mask: Tensor | null): Tensor {
    const [count, heads, length] = scores.sizes(4);
    // By gather, whose backward is one loop: those of an index and of an embedding make tensors row by row.
    const rows = this.relativePositionIndex.view([length * length, 1]).expand([-1, heads]);
    const bias = this.relativePositionBiasTable
      .gather(0, rows)
      .view([length, length, heads])
      .permute([2, 0, 1]);
    if (mask === null) return scores.add_(bias);
    const windows = mask.shape[0];
    return scores
      .view([count / windows, windows, heads, length, length])
      .add_(bias.add(mask.unsqueeze(1)))
      .view([count, heads, length, length]);
  }
}
