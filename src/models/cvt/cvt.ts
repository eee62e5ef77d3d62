/** Convolutional vision transformer (Wu et al. 2021) with attention in windows, as EsViT uses it. */

import { Conv2d, DropPath, type LayerNorm, Module, startNarrow } from '../../nn/index.js';
import { cat, scope, type Tensor } from '../../torch/index.js';
import type {
  AttentionMap,
  AttentionObserver,
  Backbone,
  BlockFeatureOptions,
  Features,
} from '../backbone.js';
import { ConvAttention, PointConv } from './attention.js';
import { ConvEmbed, DeepStem } from './embed.js';
import { Float32LayerNorm } from './norm.js';

export interface CvtStageOptions {
  dim: number;
  depth: number;
  numHeads: number;
  mlpRatio: number;
  qkvBias: boolean;
  /** of the embedding */
  patchSize: number;
  patchStride: number;
  patchPadding: number;
  /** of the depth-wise convolution before attention */
  kernelQkv: number;
  paddingQkv: number;
  windowSize: number;
  /** mask attention as if the windows had been shifted */
  shift: boolean;
}

export interface CvtOptions {
  stages: readonly CvtStageOptions[];
  relPosEmbed: boolean;
  /** the first embedding is three convolutions of 3x3 */
  deepStem: boolean;
  /** rate of each block, stage after stage */
  dropPathRates: readonly number[];
  normEps: number;
  init: 'trunc_norm' | 'xavier';
}

/** x * sigmoid(1.702 x), a cheap neighbour of GELU; x: any shape */
export function quickGelu(x: Tensor): Tensor {
  return scope(() => x.mul(x.mul(1.702).sigmoid()));
}

/** Two linear maps a pixel around a quick GELU. */
class FeedForward extends Module {
  /** null stands for the activation, which has no weights but counts in the official names */
  readonly net: readonly (PointConv | null)[];

  constructor(dim: number, hiddenDim: number) {
    super();
    this.net = [new PointConv(dim, hiddenDim, 1), null, new PointConv(hiddenDim, dim, 1)];
  }

  /** x: [B, H, W, dim] -> [B, H, W, dim] */
  forward(x: Tensor): Tensor {
    return scope(() => {
      let y = x;
      for (const layer of this.net) y = layer === null ? quickGelu(y) : layer.forward(y);
      return y;
    });
  }
}

/** A norm before what it feeds. */
class PreNorm<Body extends Module> extends Module {
  readonly norm: LayerNorm;
  readonly fn: Body;

  constructor(dim: number, eps: number, fn: Body) {
    super();
    this.norm = new Float32LayerNorm(dim, eps);
    this.fn = fn;
  }
}

/** Attention, then a feed-forward part, each on a residual path. */
class CvtBlock extends Module {
  private readonly attention: PreNorm<ConvAttention>;
  private readonly feedForward: PreNorm<FeedForward>;
  private readonly dropPath: DropPath;

  constructor(stage: CvtStageOptions, dropPath: number, { relPosEmbed, normEps }: CvtOptions) {
    super();
    const { dim } = stage;
    const attention = new ConvAttention({
      dim,
      numHeads: stage.numHeads,
      qkvBias: stage.qkvBias,
      kernel: stage.kernelQkv,
      padding: stage.paddingQkv,
      windowSize: stage.windowSize,
      relPosEmbed,
      shiftMask: stage.shift,
    });
    this.attention = new PreNorm(dim, normEps, attention);
    this.feedForward = new PreNorm(dim, normEps, new FeedForward(dim, Math.trunc(dim * stage.mlpRatio)));
    this.dropPath = new DropPath(dropPath);
  }

  /** The official names are the places in a list. */
  override *children(): Generator<[string, Module]> {
    yield ['0', this.attention];
    yield ['1', this.feedForward];
    yield ['2', this.dropPath];
  }

  /** x: [B, H, W, dim] -> [B, H, W, dim] */
  forward(x: Tensor, observe?: AttentionObserver): Tensor {
    return scope(() => {
      const { attention, feedForward, dropPath } = this;
      const y = dropPath.add(x, attention.fn.forward(attention.norm.forward(x), observe));
      return dropPath.add(y, feedForward.fn.forward(feedForward.norm.forward(y)));
    });
  }
}

class CvtBlocks extends Module {
  constructor(readonly layers: readonly CvtBlock[]) {
    super();
  }
}

/** An embedding and the blocks on its map. */
class CvtStage extends Module {
  private readonly blocks: CvtBlocks;

  constructor(
    private readonly embed: ConvEmbed | DeepStem,
    layers: readonly CvtBlock[],
  ) {
    super();
    this.blocks = new CvtBlocks(layers);
  }

  override *children(): Generator<[string, Module]> {
    yield ['0', this.embed];
    yield ['1', this.blocks];
  }

  /** x: [B, C, H, W] -> [B, H', W', dim]; `visit` sees each block's output */
  forward(x: Tensor, visit?: (tokens: Tensor) => void, observe?: AttentionObserver): Tensor {
    return scope(() => {
      let y = this.embed.forward(x);
      for (const block of this.blocks.layers) {
        const next = block.forward(y, observe);
        y.dispose();
        y = next;
        visit?.(y);
      }
      return y;
    });
  }
}

export class ConvolutionalTransformer extends Module implements Backbone {
  readonly featureDim: number;
  readonly depths: readonly number[];
  private readonly stages: readonly CvtStage[];
  private readonly norm: LayerNorm;

  constructor(options: CvtOptions) {
    super();
    this.depths = options.stages.map(({ depth }) => depth);
    this.featureDim = options.stages[options.stages.length - 1].dim;
    let block = 0;
    this.stages = options.stages.map((stage, i) => {
      const embed =
        i === 0 && options.deepStem
          ? new DeepStem(stage.dim)
          : new ConvEmbed({
              inChannels: i === 0 ? 3 : options.stages[i - 1].dim,
              dim: stage.dim,
              kernel: stage.patchSize,
              stride: stage.patchStride,
              padding: stage.patchPadding,
              normEps: options.normEps,
            });
      const blocks = Array.from(
        { length: stage.depth },
        () => new CvtBlock(stage, options.dropPathRates[block++], options),
      );
      return new CvtStage(embed, blocks);
    });
    this.norm = new Float32LayerNorm(this.featureDim, options.normEps);
    if (options.init === 'trunc_norm') startNarrow(this, Conv2d);
  }

  override *children(): Generator<[string, Module]> {
    for (const [i, stage] of this.stages.entries()) yield [`stage${i}`, stage];
    yield ['norm', this.norm];
  }

  forwardFeatures(x: Tensor): Features {
    return scope(() => {
      const normed = this.norm.forward(this.run(x));
      const [batch, rows, columns, channels] = normed.sizes(4);
      const tokens = normed.view([batch, rows * columns, channels]);
      return { pooled: tokens.mean([1]), tokens, grid: [rows, columns] as const };
    });
  }

  blockFeatures(x: Tensor, count: number, _options: BlockFeatureOptions = {}): Tensor {
    return scope(() => {
      const first = this.depths.reduce((a, b) => a + b, 0) - count;
      const pooled: Tensor[] = [];
      let block = 0;
      this.run(x, (tokens, stage) => {
        if (block++ < first) return;
        const last = stage === this.stages.length - 1;
        pooled.push(scope(() => (last ? this.norm.forward(tokens) : tokens).mean([1, 2])).keep());
      });
      const result = cat(pooled, -1);
      for (const part of pooled) part.dispose();
      return result;
    });
  }

  attentionMaps(x: Tensor): AttentionMap[] {
    const maps: AttentionMap[] = [];
    scope(() => {
      this.run(x, undefined, (map, stage) => {
        map.probabilities.keep();
        maps.push({ block: maps.length, stage, ...map });
      });
    });
    for (const { probabilities } of maps) probabilities.rescope();
    return maps;
  }

  /** Through all stages, before the last norm: [B, rows, columns, featureDim]. */
  private run(
    x: Tensor,
    visit?: (tokens: Tensor, stage: number) => void,
    observe?: (map: Parameters<AttentionObserver>[0], stage: number) => void,
  ): Tensor {
    return scope(() => {
      let y = x;
      for (const [i, stage] of this.stages.entries()) {
        const map = i === 0 ? y : y.permute([0, 3, 1, 2]);
        y = stage.forward(
          map,
          visit && ((tokens) => visit(tokens, i)),
          observe && ((attention) => observe(attention, i)),
        );
      }
      return y;
    });
  }
}
