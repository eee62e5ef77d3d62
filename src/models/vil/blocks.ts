/** The two halves of a transformer block, which are layers of their own here: attention, and the MLP. */

import { DropPath, LayerNorm, Mlp, Module } from '../../nn/index.js';
import { scope, type Tensor } from '../../torch/index.js';
import type { MapObserver } from './attention-map.js';
import { ChannelAttention, SqueezeExcite } from './channel-gates.js';
import { FullAttention } from './full-attention.js';
import { LinformerAttention } from './linformer.js';
import { LongformerAttention } from './longformer.js';
import type { AttentionType, Grid, StageAttentionOptions, VilOptions } from './options.js';
import { PerformerAttention } from './performer.js';
import { ReducedAttention } from './reduced-attention.js';

/** What every kind of attention does: [B, globals + rows * columns, dim] -> the same shape. */
export interface TokenAttention extends Module {
  forward(x: Tensor, grid: Grid, observe?: MapObserver): Tensor;
}

const ATTENTIONS: Readonly<Record<AttentionType, (options: StageAttentionOptions) => TokenAttention>> = {
  full: (options) => new FullAttention(options),
  longformerhand: (options) => new LongformerAttention(options),
  longformerauto: (options) => new LongformerAttention(options),
  linformer: (options) => new LinformerAttention(options),
  srformer: (options) => new ReducedAttention(options),
  performer: (options) => new PerformerAttention(options),
};

export class AttentionBlock extends Module {
  readonly norm: LayerNorm;
  readonly attn: TokenAttention;
  readonly se: SqueezeExcite | ChannelAttention | null;
  private readonly dropPath: DropPath;

  constructor(type: AttentionType, options: StageAttentionOptions, network: VilOptions, dropPath: number) {
    super();
    const { dim } = options;
    this.norm = new LayerNorm(dim, network.normEps);
    this.attn = ATTENTIONS[type](options);
    this.se =
      network.gate === null
        ? null
        : network.gate === 'SE'
          ? new SqueezeExcite(dim, network.gateRatio)
          : new ChannelAttention(dim, network.gateRatio);
    this.dropPath = new DropPath(dropPath);
  }

  /** x: [B, globals + rows * columns, dim] -> the same shape */
  forward(x: Tensor, grid: Grid, observe?: MapObserver): Tensor {
    return scope(() => {
      const mixed = this.attn.forward(this.norm.forward(x), grid, observe);
      return this.dropPath.add(x, this.se === null ? mixed : this.se.forward(mixed));
    });
  }
}

export class MlpBlock extends Module {
  readonly norm: LayerNorm;
  readonly mlp: Mlp;
  private readonly dropPath: DropPath;

  constructor(dim: number, network: VilOptions, dropPath: number) {
    super();
    this.norm = new LayerNorm(dim, network.normEps);
    this.mlp = new Mlp({ dim, hiddenDim: Math.trunc(dim * network.mlpRatio), dropRate: network.dropRate });
    this.dropPath = new DropPath(dropPath);
  }

  /** x: [B, L, dim] -> the same shape */
  forward(x: Tensor): Tensor {
    return scope(() => this.dropPath.add(x, this.mlp.forward(this.norm.forward(x))));
  }
}
