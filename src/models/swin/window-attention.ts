/** Multi-head self-attention inside windows, with a learned bias for each relative position. */

import { Buffer, drop, Linear, Module, Parameter, truncatedNormal } from '../../nn/index.js';
import { fits, fusedWindowAttention, scope, type Tensor, zeros } from '../../torch/index.js';
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
   * x: [B, H, W, dim] -> the same shape, in the windows of the shifted and padded map; undefined where the operators
   * for it do not take x. Only tokens of the map are mapped: those that pad it have the biases of q, k and v.
   */
  forwardMap(x: Tensor, shift: number): Tensor | undefined {
    const { windowSize, attnDropRate, dropRate } = this.options;
    if (!fits(x, this.relativePositionBiasTable) || (attnDropRate > 0 && this.training)) return undefined;
    return scope(() => {
      const qkv = this.qkv.forward(x);
      const mixed = fusedWindowAttention(qkv, this.qkv.bias, this.bias(), { window: windowSize, shift });
      return drop(this.proj.forward(mixed), dropRate, this.training);
    });
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
    const bias = this.bias();
    if (mask === null) return scores.add_(bias);
    const windows = mask.shape[0];
    return scores
      .view([count / windows, windows, heads, length, length])
      .add_(bias.add(mask.unsqueeze(1)))
      .view([count, heads, length, length]);
  }

  /** [heads, L, L] */
  private bias(): Tensor {
    return scope(() => {
      const { numHeads: heads, windowSize } = this.options;
      const length = windowSize ** 2;
      // By gather, whose backward is one loop: those of an index and of an embedding make tensors row by row.
      const rows = this.relativePositionIndex.view([length * length, 1]).expand([-1, heads]);
      return this.relativePositionBiasTable.gather(0, rows).view([length, length, heads]).permute([2, 0, 1]);
    });
  }
}
