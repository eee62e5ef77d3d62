/** Attention inside windows whose queries, keys and values come from a depth-wise convolution. */

import { BatchNorm, Buffer, Conv2d, Module, Parameter, truncatedNormal } from '../../nn/index.js';
import { linear, scope, type Tensor, zeros } from '../../torch/index.js';
import type { AttentionObserver } from '../backbone.js';
import { mergeWindows, padToMultiple, ShiftMasks, windowBiasIndex } from '../layers/windows.js';

/** A convolution with a kernel of one pixel on a map with the channels last: one linear map a pixel. */
export class PointConv extends Conv2d {
  /** x: [..., inChannels] -> [..., outChannels] */
  override forward(x: Tensor): Tensor {
    return scope(() => {
      const [outChannels, inChannels] = this.weight.shape;
      const rows = linear(
        x.reshape([-1, inChannels]),
        this.weight.view([outChannels, inChannels]),
        this.bias,
      );
      return rows.view([...x.shape.slice(0, -1), outChannels]);
    });
  }
}

/** A convolution of each channel, a batch norm, then a linear map of the channels. */
class SeparableProjection extends Module {
  readonly dw: Conv2d;
  readonly bn: BatchNorm;
  readonly pw: PointConv;

  constructor(dimIn: number, dimOut: number, kernel: number, padding: number, bias: boolean) {
    super();
    this.dw = new Conv2d(dimIn, dimIn, kernel, { padding, groups: dimIn, bias: false });
    this.bn = new BatchNorm(dimIn);
    this.pw = new PointConv(dimIn, dimOut, 1, { bias });
  }

  /** x: [B, H, W, dimIn] -> [B, H, W, dimOut] */
  forward(x: Tensor): Tensor {
    return scope(() => {
      // Only the strides move: the convolution and the norm know maps whose channels lie last.
      const mixed = this.bn.forward(this.dw.forward(x.permute([0, 3, 1, 2])));
      return this.pw.forward(mixed.permute([0, 2, 3, 1]));
    });
  }
}

export interface ConvAttentionOptions {
  dim: number;
  numHeads: number;
  qkvBias: boolean;
  kernel: number;
  padding: number;
  windowSize: number;
  /** a learned bias for each relative position */
  relPosEmbed: boolean;
  /** mask as if the windows had been shifted; the original never shifts them */
  shiftMask: boolean;
}

/** softmax(q kᵀ / √dim + B) v. The scale follows the full width, not a head's, as in the original. */
export class ConvAttention extends Module {
  /** [(2 windowSize - 1)², numHeads] */
  readonly relPosBiasTable: Parameter | null;
  /** [windowSize², windowSize²]; kept for checkpoints, which hold it */
  readonly relPosIdx: Buffer | null;
  readonly qkv: SeparableProjection;
  readonly projOut: PointConv;
  /** by window, for maps that are smaller than the window */
  private readonly smaller = new Map<string, Tensor>();
  private readonly masks = new Map<number, ShiftMasks>();

  constructor(private readonly options: ConvAttentionOptions) {
    super();
    const { dim, numHeads, windowSize, relPosEmbed, kernel, padding, qkvBias } = options;
    this.relPosBiasTable = relPosEmbed
      ? new Parameter(truncatedNormal(zeros([(2 * windowSize - 1) ** 2, numHeads]), 0.02))
      : null;
    this.relPosIdx = relPosEmbed ? new Buffer(windowBiasIndex(windowSize, windowSize)) : null;
    this.qkv = new SeparableProjection(dim, 3 * dim, kernel, padding, qkvBias);
    this.projOut = new PointConv(dim, dim, 1);
  }

  /** x: [B, H, W, dim] -> [B, H, W, dim] */
  forward(x: Tensor, observe?: AttentionObserver): Tensor {
    return scope(() => {
      const { numHeads, dim } = this.options;
      const [batch, height, width] = x.sizes(4);
      const size = Math.min(this.options.windowSize, height, width);
      const padded = padToMultiple(x, size); // the zeros take part in convolution, norm and attention
      const [, paddedHeight, paddedWidth] = padded.sizes(4);
      const [rows, columns] = [paddedHeight / size, paddedWidth / size];
      const [q, k, v] = this.qkv
        .forward(padded)
        .view([batch, rows, size, columns, size, 3, numHeads, dim / numHeads])
        .permute([5, 0, 1, 3, 6, 2, 4, 7])
        .reshape([3, batch * rows * columns, numHeads, size * size, dim / numHeads])
        .unbind(0); // each [B * windows, heads, L, dim / heads]
      const scores = q.mul(dim ** -0.5).matmul(k.transpose(-2, -1));
      const mask = this.options.shiftMask ? this.mask(size, paddedHeight, paddedWidth, x.device) : null;
      const probabilities = this.biased(scores, size, mask).softmax(-1);
      observe?.({ probabilities, grid: [height, width], windowSize: size, shift: 0 });
      const mixed = probabilities
        .matmul(v)
        .transpose(1, 2)
        .reshape([-1, size * size, dim]);
      const merged = mergeWindows(mixed, size, paddedHeight, paddedWidth);
      const fits = paddedHeight === height && paddedWidth === width;
      return this.projOut.forward(fits ? merged : merged.narrow(1, 0, height).narrow(2, 0, width));
    });
  }

  /** scores: [B * windows, heads, L, L]; changed in place, nothing else needs them. */
  private biased(scores: Tensor, size: number, mask: Tensor | null): Tensor {
    const [count, heads, length] = scores.sizes(4);
    const table = this.relPosBiasTable;
    if (table !== null) {
      const rows = this.index(size, scores.device)
        .view([length * length, 1])
        .expand([-1, heads]);
      scores.add_(table.gather(0, rows).view([length, length, heads]).permute([2, 0, 1]));
    }
    if (mask === null) return scores;
    const windows = mask.shape[0];
    return scores
      .view([count / windows, windows, heads, length, length])
      .add_(mask.unsqueeze(1))
      .view([count, heads, length, length]);
  }

  /** Of a smaller window the offsets are among those of the full one. */
  private index(size: number, device: string): Tensor {
    if (this.relPosIdx !== null && size === this.options.windowSize) return this.relPosIdx;
    const key = `${size}@${device}`;
    let index = this.smaller.get(key);
    if (index === undefined) {
      index = scope(() => windowBiasIndex(size, this.options.windowSize).to({ device })).keep();
      this.smaller.set(key, index);
    }
    return index;
  }

  private mask(size: number, height: number, width: number, device: string): Tensor | null {
    let masks = this.masks.get(size);
    if (masks === undefined) {
      masks = new ShiftMasks(size, Math.floor(size / 2));
      this.masks.set(size, masks);
    }
    return masks.for(height, width, device);
  }
}
