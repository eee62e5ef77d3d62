/** Swin Transformer (Liu et al. 2021): stages of windowed attention with halving resolution. */

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
import { mergeWindows, padToMultiple, partitionWindows, ShiftMasks } from '../layers/windows.js';
import { WindowAttention } from './window-attention.js';

export interface SwinOptions {
  /** the size that settles windows and shifts; other sizes can be given at run time */
  imgSize: number | readonly [number, number];
  patchSize: number;
  embedDim: number;
  depths: readonly number[];
  numHeads: readonly number[];
  windowSize: number;
  mlpRatio: number;
  qkvBias: boolean;
  dropRate: number;
  attnDropRate: number;
  /** rate of the last block; it grows linearly from 0 */
  dropPathRate: number;
  ape: boolean;
  patchNorm: boolean;
  normEps: number;
}

interface BlockOptions {
  dim: number;
  numHeads: number;
  windowSize: number;
  shift: number;
  dropPath: number;
  swin: SwinOptions;
}

/** Attention inside (shifted) windows, then an MLP, each on a residual path. Swin paper, eq. 3. */
export class SwinBlock extends Module {
  readonly norm1: LayerNorm;
  readonly attn: WindowAttention;
  readonly norm2: LayerNorm;
  readonly mlp: Mlp;
  private readonly dropPath: DropPath;
  private readonly masks: ShiftMasks;

  constructor(private readonly options: BlockOptions) {
    super();
    const { dim, numHeads, windowSize, shift, dropPath, swin } = options;
    this.norm1 = new LayerNorm(dim, swin.normEps);
    this.attn = new WindowAttention({
      dim,
      numHeads,
      windowSize,
      qkvBias: swin.qkvBias,
      attnDropRate: swin.attnDropRate,
      dropRate: swin.dropRate,
    });
    this.norm2 = new LayerNorm(dim, swin.normEps);
    this.mlp = new Mlp({ dim, hiddenDim: Math.trunc(dim * swin.mlpRatio), dropRate: swin.dropRate });
    this.dropPath = new DropPath(dropPath);
    this.masks = new ShiftMasks(windowSize, shift);
  }

  /** x: [B, H, W, C] -> [B, H, W, C] */
  forward(x: Tensor, observe?: AttentionObserver): Tensor {
    return scope(() => {
      const y = this.dropPath.add(x, this.attend(this.norm1.forward(x), observe));
      return this.dropPath.add(y, this.mlp.forward(this.norm2.forward(y)));
    });
  }

  private attend(x: Tensor, observe?: AttentionObserver): Tensor {
    return scope(() => {
      const { windowSize, shift } = this.options;
      const [, height, width] = x.sizes(4);
      const whole = observe === undefined ? this.attn.forwardMap(x, shift) : undefined;
      if (whole !== undefined) return whole;
      const padded = padToMultiple(x, windowSize); // [B, Hp, Wp, C]
      const [, paddedHeight, paddedWidth] = padded.sizes(4);
      const shifted = shift === 0 ? padded : padded.roll([-shift, -shift], [1, 2]);
      const mixed = this.attn.forward(
        partitionWindows(shifted, windowSize), // [B*nW, w*w, C]
        this.masks.for(paddedHeight, paddedWidth, x.device),
        observe === undefined
          ? undefined
          : (probabilities) => observe({ probabilities, grid: [height, width], windowSize, shift }),
      );
      const merged = mergeWindows(mixed, windowSize, paddedHeight, paddedWidth); // [B, Hp, Wp, C]
      const back = shift === 0 ? merged : merged.roll([shift, shift], [1, 2]);
      if (paddedHeight === height && paddedWidth === width) return back;
      return back.narrow(1, 0, height).narrow(2, 0, width); // [B, H, W, C]
    });
  }
}

/** Every 2x2 tokens become one of twice the width. */
class PatchMerging extends Module {
  readonly reduction: Linear;
  readonly norm: LayerNorm;

  constructor(dim: number, normEps: number) {
    super();
    this.reduction = new Linear(4 * dim, 2 * dim, { bias: false });
    this.norm = new LayerNorm(4 * dim, normEps);
  }

  /** x: [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), 2C] */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const padded = padToMultiple(x, 2);
      const every2 = (row: number, column: number) => padded.slice(1, row, null, 2).slice(2, column, null, 2);
      const merged = cat([every2(0, 0), every2(1, 0), every2(0, 1), every2(1, 1)], -1);
      return this.reduction.forward(this.norm.forward(merged));
    });
  }
}

/** The blocks of one resolution. */
class SwinStage extends Module {
  readonly blocks: readonly SwinBlock[];
  readonly downsample: PatchMerging | null;

  constructor(blocks: readonly SwinBlock[], downsample: PatchMerging | null) {
    super();
    this.blocks = blocks;
    this.downsample = downsample;
  }

  /** x: [B, H, W, C] -> what the next stage takes; `visit` sees each block's output */
  forward(x: Tensor, visit?: (tokens: Tensor) => void, observe?: AttentionObserver): Tensor {
    return scope(() => {
      let y = x;
      for (const block of this.blocks) {
        const next = block.forward(y, observe);
        if (y !== x) y.dispose();
        y = next;
        visit?.(y);
      }
      return this.downsample === null ? y : this.downsample.forward(y);
    });
  }
}

export class SwinTransformer extends Module implements Backbone {
  readonly featureDim: number;
  readonly depths: readonly number[];
  /** [1, tokens, embedDim] where absolute positions are used */
  readonly absolutePosEmbed: Parameter | null;
  readonly patchEmbed: PatchEmbed;
  readonly layers: readonly SwinStage[];
  readonly norm: LayerNorm;
  private readonly grid: readonly [number, number];

  constructor(private readonly options: SwinOptions) {
    super();
    const { patchSize, embedDim, depths, numHeads, windowSize, normEps } = options;
    const size = typeof options.imgSize === 'number' ? [options.imgSize, options.imgSize] : options.imgSize;
    this.depths = depths;
    this.featureDim = embedDim * 2 ** (depths.length - 1);
    this.grid = [Math.floor(size[0] / patchSize), Math.floor(size[1] / patchSize)];
    this.absolutePosEmbed = options.ape
      ? new Parameter(truncatedNormal(zeros([1, this.grid[0] * this.grid[1], embedDim]), 0.02))
      : null;
    this.patchEmbed = new PatchEmbed({ patchSize, embedDim, normEps: options.patchNorm ? normEps : null });

    const blockCount = depths.reduce((a, b) => a + b, 0);
    let block = 0;
    this.layers = depths.map((depth, stage) => {
      const dim = embedDim * 2 ** stage;
      // Windows and shifts follow the resolution of construction, whatever comes at run time.
      const side = Math.min(Math.floor(this.grid[0] / 2 ** stage), Math.floor(this.grid[1] / 2 ** stage));
      const fits = side > windowSize;
      const blocks = Array.from({ length: depth }, (_, i) => {
        const dropPath = blockCount > 1 ? (options.dropPathRate * block++) / (blockCount - 1) : 0;
        return new SwinBlock({
          dim,
          numHeads: numHeads[stage],
          windowSize: fits ? windowSize : side,
          shift: fits && i % 2 === 1 ? Math.floor(windowSize / 2) : 0,
          dropPath,
          swin: options,
        });
      });
      return new SwinStage(blocks, stage < depths.length - 1 ? new PatchMerging(dim, normEps) : null);
    });
    this.norm = new LayerNorm(this.featureDim, normEps);
    startNarrow(this);
  }

  forwardFeatures(x: Tensor): Features {
    return scope(() => {
      let y = this.embed(x);
      for (const stage of this.layers) y = stage.forward(y);
      const normed = this.norm.forward(y);
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
      let y = this.embed(x);
      for (const [i, stage] of this.layers.entries()) {
        const last = i === this.layers.length - 1;
        y = stage.forward(y, (tokens) => {
          if (block++ < first) return;
          const mean = scope(() => (last ? this.norm.forward(tokens) : tokens).mean([1, 2]));
          pooled.push(mean.keep());
        });
      }
      const result = cat(pooled, -1);
      for (const part of pooled) part.dispose();
      return result;
    });
  }

  attentionMaps(x: Tensor): AttentionMap[] {
    const maps: AttentionMap[] = [];
    scope(() => {
      let y = this.embed(x);
      for (const [stage, layer] of this.layers.entries())
        y = layer.forward(y, undefined, (map) => {
          map.probabilities.keep();
          maps.push({ block: maps.length, stage, ...map });
        });
    });
    for (const { probabilities } of maps) probabilities.rescope();
    return maps;
  }

  /** x: [B, 3, H, W] -> [B, rows, columns, embedDim] */
  private embed(x: Tensor): Tensor {
    return scope(() => {
      const tokens = this.patchEmbed.forward(x);
      const [batch, rows, columns, channels] = tokens.sizes(4);
      if (this.absolutePosEmbed === null) return drop(tokens, this.options.dropRate, this.training);
      const fits = rows === this.grid[0] && columns === this.grid[1];
      const positions = fits
        ? this.absolutePosEmbed
        : resizePositions(this.absolutePosEmbed, this.grid, [rows, columns]);
      const placed = tokens.view([batch, rows * columns, channels]).add(positions);
      return drop(placed.view([batch, rows, columns, channels]), this.options.dropRate, this.training);
    });
  }
}
