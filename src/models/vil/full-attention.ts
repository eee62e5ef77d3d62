/** Attention among all tokens of a stage, with a bias for relative positions where there are no absolute ones. */

import { Buffer, drop, Linear, Module, Parameter, truncatedNormal } from '../../nn/index.js';
import { cat, scope, type Tensor, zeros } from '../../torch/index.js';
import type { MapObserver } from './attention-map.js';
import type { Grid, StageAttentionOptions } from './options.js';
import { GridPositionIndices, gridPositionIndex, resizeBiasTable, resizePairBias } from './relative-bias.js';

export class FullAttention extends Module {
  /** [(2 rows - 1) (2 columns - 1), heads] */
  readonly localRelativePositionBiasTable: Parameter | null = null;
  /** [2, heads, globals]: from global to local tokens, and back */
  readonly g2lRelativePositionBias: Parameter | null = null;
  /** [heads, globals, globals] */
  readonly g2gRelativePositionBias: Parameter | null = null;
  readonly relativePositionIndex: Buffer | null = null;
  readonly qkv: Linear;
  readonly proj: Linear;
  private readonly indices = new GridPositionIndices();

  constructor(private readonly options: StageAttentionOptions) {
    super();
    const { dim, numHeads, globals, relative, grid, qkvBias } = options;
    const table = (shape: readonly number[]) => new Parameter(truncatedNormal(zeros(shape), 0.02));
    this.qkv = new Linear(dim, 3 * dim, { bias: qkvBias });
    this.proj = new Linear(dim, dim);
    if (!relative) return;
    this.localRelativePositionBiasTable = table([(2 * grid[0] - 1) * (2 * grid[1] - 1), numHeads]);
    this.relativePositionIndex = new Buffer(gridPositionIndex(grid));
    if (globals === 0) return;
    this.g2lRelativePositionBias = table([2, numHeads, globals]);
    this.g2gRelativePositionBias = table([numHeads, globals, globals]);
  }

  /** x: [B, globals + rows * columns, dim] -> the same shape; `observe` is given [B, heads, L, L] */
  forward(x: Tensor, grid: Grid, observe?: MapObserver): Tensor {
    return scope(() => {
      const { numHeads, dim, dropRate } = this.options;
      const [batch, length] = x.sizes(3);
      const headDim = dim / numHeads;
      const [q, k, v] = this.qkv
        .forward(x)
        .view([batch, length, 3, numHeads, headDim])
        .permute([2, 0, 3, 1, 4])
        .contiguous()
        .unbind(0); // each [B, heads, L, headDim]
      const scores = q.mul(headDim ** -0.5).matmul(k.transpose(-2, -1));
      if (this.localRelativePositionBiasTable !== null)
        scores.add_(this.bias(this.localRelativePositionBiasTable, grid));
      const probabilities = scores.softmax(-1);
      observe?.(probabilities);
      const merged = probabilities.matmul(v).transpose(1, 2).reshape([batch, length, dim]);
      return drop(this.proj.forward(merged), dropRate, this.training);
    });
  }

  /** [heads, L, L] */
  private bias(table: Parameter, grid: Grid): Tensor {
    return scope(() => {
      const { g2lRelativePositionBias: g2l, g2gRelativePositionBias: g2g } = this;
      const locals = this.localBias(table, grid).permute([2, 0, 1]);
      if (g2l === null || g2g === null) return locals;
      const count = grid[0] * grid[1];
      const toLocals = g2l.select(0, 0).unsqueeze(-1).expand([-1, -1, count]);
      const toGlobals = g2l.select(0, 1).unsqueeze(1).expand([-1, count, -1]);
      return cat([cat([g2g, toLocals], -1), cat([toGlobals, locals], -1)], 1);
    });
  }

  /**
   * [N, N, heads]. For a square map of another size the original resamples the matrix, so do we; where it cannot,
   * on oblong maps, the table is resampled instead.
   */
  private localBias(table: Parameter, grid: Grid): Tensor {
    const { grid: made, numHeads } = this.options;
    const read = (from: Tensor, index: Tensor) => {
      const [length] = index.shape;
      const rows = index.view([length * length, 1]).expand([-1, numHeads]);
      return from.gather(0, rows).view([length, length, numHeads]);
    };
    const own = this.relativePositionIndex as Buffer;
    if (grid[0] === made[0] && grid[1] === made[1]) return read(table, own);
    if (grid[0] === grid[1] && made[0] === made[1])
      return resizePairBias(read(table, own), grid[0] * grid[1]);
    return read(resizeBiasTable(table, made, grid), this.indices.for(grid, table.device));
  }
}
