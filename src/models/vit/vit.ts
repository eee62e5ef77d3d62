/** Plain vision transformer (Dosovitskiy et al. 2021; DeiT, Touvron et al. 2021). */

import {
  DropPath,
  drop,
  LayerNorm,
  Linear,
  Mlp,
  Module,
  Parameter,
  startNarrow,
  truncatedNormal,
} from '../../nn/index.js';
import { cat, scope, type Tensor, zeros } from '../../torch/index.js';
import type {
  AttentionMap,
  AttentionObserver,
  Backbone,
  BlockFeatureOptions,
  Features,
} from '../backbone.js';
import { PatchEmbed } from '../layers/patch-embed.js';
import { resizePositions } from '../layers/position.js';

export interface VitOptions {
  /** the size that the position embeddings are made for; others are interpolated */
  imgSize: number;
  patchSize: number;
  embedDim: number;
  depth: number;
  numHeads: number;
  mlpRatio: number;
  qkvBias: boolean;
  dropRate: number;
  attnDropRate: number;
  dropPathRate: number;
  normEps: number;
}

/** Multi-head self-attention among all tokens. */
class Attention extends Module {
  readonly qkv: Linear;
  readonly proj: Linear;

  constructor(private readonly options: VitOptions) {
    super();
    this.qkv = new Linear(options.embedDim, 3 * options.embedDim, { bias: options.qkvBias });
    this.proj = new Linear(options.embedDim, options.embedDim);
  }

  /** x: [B, N, C] -> [B, N, C]; `observe` sees [B, heads, N, N] */
  forward(x: Tensor, observe?: (probabilities: Tensor) => void): Tensor {
    return scope(() => {
      const { numHeads, attnDropRate, dropRate } = this.options;
      const [batch, length, dim] = x.sizes(3);
      const headDim = dim / numHeads;
      const [q, k, v] = this.qkv
        .forward(x)
        .view([batch, length, 3, numHeads, headDim])
        .permute([2, 0, 3, 1, 4])
        .unbind(0); // each [B, heads, N, headDim]
      const probabilities = q
        .mul(headDim ** -0.5)
        .matmul(k.transpose(-2, -1))
        .softmax(-1);
      observe?.(probabilities);
      const mixed = drop(probabilities, attnDropRate, this.training).matmul(v);
      return drop(
        this.proj.forward(mixed.transpose(1, 2).reshape([batch, length, dim])),
        dropRate,
        this.training,
      );
    });
  }
}

class VitBlock extends Module {
  readonly norm1: LayerNorm;
  readonly attn: Attention;
  readonly norm2: LayerNorm;
  readonly mlp: Mlp;
  private readonly dropPath: DropPath;

  constructor(options: VitOptions, dropPath: number) {
    super();
    const { embedDim, mlpRatio, normEps, dropRate } = options;
    this.norm1 = new LayerNorm(embedDim, normEps);
    this.attn = new Attention(options);
    this.norm2 = new LayerNorm(embedDim, normEps);
    this.mlp = new Mlp({ dim: embedDim, hiddenDim: Math.trunc(embedDim * mlpRatio), dropRate });
    this.dropPath = new DropPath(dropPath);
  }

  /** x: [B, N, C] -> [B, N, C] */
  forward(x: Tensor, observe?: (probabilities: Tensor) => void): Tensor {
    return scope(() => {
      const y = this.dropPath.add(x, this.attn.forward(this.norm1.forward(x), observe));
      return this.dropPath.add(y, this.mlp.forward(this.norm2.forward(y)));
    });
  }
}

export class VisionTransformer extends Module implements Backbone {
  readonly featureDim: number;
  readonly depths: readonly number[];
  /** [1, 1, embedDim] */
  readonly clsToken: Parameter;
  /** [1, 1 + tokens, embedDim] */
  readonly posEmbed: Parameter;
  readonly patchEmbed: PatchEmbed;
  readonly blocks: readonly VitBlock[];
  readonly norm: LayerNorm;
  /** tokens along a side of the picture that the positions are made for */
  private readonly side: number;

  constructor(private readonly options: VitOptions) {
    super();
    const { imgSize, patchSize, embedDim, depth, dropPathRate, normEps } = options;
    this.featureDim = embedDim;
    this.depths = [depth];
    this.side = Math.floor(imgSize / patchSize);
    this.clsToken = new Parameter(truncatedNormal(zeros([1, 1, embedDim]), 0.02));
    this.posEmbed = new Parameter(truncatedNormal(zeros([1, 1 + this.side ** 2, embedDim]), 0.02));
    this.patchEmbed = new PatchEmbed({ patchSize, embedDim, normEps: null });
    this.blocks = Array.from(
      { length: depth },
      (_, i) => new VitBlock(options, depth > 1 ? (dropPathRate * i) / (depth - 1) : 0),
    );
    this.norm = new LayerNorm(embedDim, normEps);
    startNarrow(this);
  }

  forwardFeatures(x: Tensor): Features {
    return scope(() => {
      const { tokens, grid } = this.run(x);
      const normed = this.norm.forward(tokens);
      return { pooled: normed.select(1, 0), tokens: normed.narrow(1, 1, grid[0] * grid[1]), grid };
    });
  }

  /** The class token of the last blocks, each normed; on request also the mean of the last regions. */
  blockFeatures(x: Tensor, count: number, options: BlockFeatureOptions = {}): Tensor {
    return scope(() => {
      const first = this.blocks.length - count;
      const parts: Tensor[] = [];
      this.run(x, (tokens, block) => {
        if (block >= first) parts.push(scope(() => this.norm.forward(tokens).select(1, 0).clone()).keep());
        if (options.avgpoolPatchTokens && block === this.blocks.length - 1)
          parts.push(
            scope(() =>
              this.norm
                .forward(tokens)
                .narrow(1, 1, tokens.shape[1] - 1)
                .mean([1]),
            ).keep(),
          );
      });
      for (const part of parts) part.rescope();
      return cat(parts, -1);
    });
  }

  attentionMaps(x: Tensor): AttentionMap[] {
    const maps: AttentionMap[] = [];
    scope(() => {
      this.run(x, undefined, (map) => {
        map.probabilities.keep();
        maps.push({ block: maps.length, stage: 0, ...map });
      });
    });
    for (const { probabilities } of maps) probabilities.rescope();
    return maps;
  }

  /** Through all blocks, before the last norm: [B, 1 + N, C]. */
  private run(
    x: Tensor,
    visit?: (tokens: Tensor, block: number) => void,
    observe?: AttentionObserver,
  ): { tokens: Tensor; grid: readonly [number, number] } {
    return scope(() => {
      const patches = this.patchEmbed.forward(x);
      const [batch, rows, columns, dim] = patches.sizes(4);
      const grid = [rows, columns] as const;
      const withClass = cat(
        [this.clsToken.expand([batch, -1, -1]), patches.view([batch, rows * columns, dim])],
        1,
      );
      let y = drop(withClass.add(this.positions(rows, columns)), this.options.dropRate, this.training);
      for (const [i, block] of this.blocks.entries()) {
        const next = block.forward(
          y,
          observe === undefined
            ? undefined
            : (probabilities) => observe({ probabilities, grid, windowSize: 0, shift: 0 }),
        );
        y.dispose();
        y = next;
        visit?.(y, i);
      }
      return { tokens: y, grid };
    });
  }

  /** [1, 1 + rows*columns, C]. Resampled by factor, not by size, like the original: the grids differ a little. */
  private positions(rows: number, columns: number): Tensor {
    const { side } = this;
    if (rows * columns === side * side) return this.posEmbed;
    return scope(() => {
      const scale = [rows / side, columns / side] as const;
      const regions = this.posEmbed.narrow(1, 1, side * side);
      return cat(
        [this.posEmbed.narrow(1, 0, 1), resizePositions(regions, [side, side], [rows, columns], scale)],
        1,
      );
    });
  }
}
