/** Residual networks (He et al. 2016), with the names and the initialisation of torchvision. */

import { BatchNorm, Conv2d, heNormal, Module } from '../../nn/index.js';
import { cat, scope, type Tensor } from '../../torch/index.js';
import type { AttentionMap, Backbone, BlockFeatureOptions, Features } from '../backbone.js';

export interface ResNetOptions {
  /** two 3x3 convolutions, or a 3x3 between two 1x1 */
  block: 'basic' | 'bottleneck';
  /** number of blocks in each of the four stages */
  layers: readonly number[];
  /** channels of the stem and of the first stage's 3x3 convolutions; they double with each stage */
  width: number;
}

/** How much wider than its 3x3 convolutions a block's output is. */
const EXPANSION = { basic: 1, bottleneck: 4 } as const;

function convolution(inChannels: number, outChannels: number, kernel: number, stride = 1): Conv2d {
  const padding = (kernel - 1) / 2;
  return new Conv2d(inChannels, outChannels, kernel, { stride, padding, bias: false });
}

interface BlockShape {
  inChannels: number;
  width: number;
  stride: number;
}

/** A block's own convolutions, beside a way past them. */
abstract class ResidualBlock extends Module {
  abstract readonly downsample: readonly [Conv2d, BatchNorm] | null;

  protected abstract transform(x: Tensor): Tensor;

  /** x: [B, inChannels, H, W] -> [B, outChannels, H / stride, W / stride] */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const { downsample } = this;
      const identity = downsample === null ? x : downsample[1].forward(downsample[0].forward(x));
      return this.transform(x).add_(identity).relu_();
    });
  }
}

function shortcut({ inChannels, stride }: BlockShape, outChannels: number): [Conv2d, BatchNorm] | null {
  if (stride === 1 && inChannels === outChannels) return null;
  return [convolution(inChannels, outChannels, 1, stride), new BatchNorm(outChannels)];
}

class BasicBlock extends ResidualBlock {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm;
  readonly downsample: readonly [Conv2d, BatchNorm] | null;

  constructor(shape: BlockShape) {
    super();
    const { inChannels, width, stride } = shape;
    this.conv1 = convolution(inChannels, width, 3, stride);
    this.bn1 = new BatchNorm(width);
    this.conv2 = convolution(width, width, 3);
    this.bn2 = new BatchNorm(width);
    this.downsample = shortcut(shape, width);
  }

  protected transform(x: Tensor): Tensor {
    const y = this.bn1.forward(this.conv1.forward(x)).relu_();
    return this.bn2.forward(this.conv2.forward(y));
  }
}

class Bottleneck extends ResidualBlock {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm;
  readonly conv3: Conv2d;
  readonly bn3: BatchNorm;
  readonly downsample: readonly [Conv2d, BatchNorm] | null;

  constructor(shape: BlockShape) {
    super();
    const { inChannels, width, stride } = shape;
    const outChannels = width * EXPANSION.bottleneck;
    this.conv1 = convolution(inChannels, width, 1);
    this.bn1 = new BatchNorm(width);
    this.conv2 = convolution(width, width, 3, stride);
    this.bn2 = new BatchNorm(width);
    this.conv3 = convolution(width, outChannels, 1);
    this.bn3 = new BatchNorm(outChannels);
    this.downsample = shortcut(shape, outChannels);
  }

  protected transform(x: Tensor): Tensor {
    const y = this.bn1.forward(this.conv1.forward(x)).relu_();
    const z = this.bn2.forward(this.conv2.forward(y)).relu_();
    return this.bn3.forward(this.conv3.forward(z));
  }
}

/** The network itself, under torchvision's names, without its classifier. */
class ResNetBody extends Module {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm;
  readonly layer1: readonly ResidualBlock[];
  readonly layer2: readonly ResidualBlock[];
  readonly layer3: readonly ResidualBlock[];
  readonly layer4: readonly ResidualBlock[];

  constructor({ block, layers, width }: ResNetOptions) {
    super();
    const Block = block === 'basic' ? BasicBlock : Bottleneck;
    let inChannels = width;
    const stage = (index: number): ResidualBlock[] =>
      Array.from({ length: layers[index] }, (_, i) => {
        const shape = { inChannels, width: width * 2 ** index, stride: i === 0 && index > 0 ? 2 : 1 };
        inChannels = shape.width * EXPANSION[block];
        return new Block(shape);
      });
    this.conv1 = convolution(3, width, 7, 2);
    this.bn1 = new BatchNorm(width);
    this.layer1 = stage(0);
    this.layer2 = stage(1);
    this.layer3 = stage(2);
    this.layer4 = stage(3);
    for (const [, module] of this.modules())
      if (module instanceof Conv2d) {
        const [outChannels, , height, columns] = module.weight.shape;
        heNormal(module.weight, outChannels * height * columns);
      }
  }

  /** x: [B, 3, H, W] -> [B, C, ceil(H/32), ceil(W/32)]; `visit` sees each block's output */
  forward(x: Tensor, visit?: (map: Tensor) => void): Tensor {
    return scope(() => {
      const stem = this.bn1.forward(this.conv1.forward(x)).relu_();
      let y = stem.maxPool2d(3, 2, 1);
      for (const block of [...this.layer1, ...this.layer2, ...this.layer3, ...this.layer4]) {
        const next = block.forward(y);
        y.dispose();
        y = next;
        visit?.(y);
      }
      return y;
    });
  }
}

/** The original puts the network into a wrapper, and that into another; both are in the names of its checkpoints. */
class ResNetWrapper extends Module {
  constructor(readonly backbone: ResNetBody) {
    super();
  }
}

export class ResNet extends Module implements Backbone {
  readonly featureDim: number;
  readonly depths: readonly number[];
  readonly backbone: ResNetWrapper;

  constructor(options: ResNetOptions) {
    super();
    this.depths = options.layers;
    this.featureDim = options.width * 2 ** (options.layers.length - 1) * EXPANSION[options.block];
    this.backbone = new ResNetWrapper(new ResNetBody(options));
  }

  forwardFeatures(x: Tensor): Features {
    return scope(() => {
      const map = this.backbone.backbone.forward(x);
      const [, , rows, columns] = map.sizes(4);
      return {
        pooled: map.mean([2, 3]),
        tokens: map.flatten(2).transpose(1, 2),
        grid: [rows, columns] as const,
      };
    });
  }

  /** The mean over the map of each of the last residual blocks. */
  blockFeatures(x: Tensor, count: number, _options: BlockFeatureOptions = {}): Tensor {
    return scope(() => {
      const first = this.depths.reduce((a, b) => a + b, 0) - count;
      const pooled: Tensor[] = [];
      let block = 0;
      this.backbone.backbone.forward(x, (map) => {
        if (block++ >= first) pooled.push(map.mean([2, 3]).keep());
      });
      const result = cat(pooled, -1);
      for (const part of pooled) part.dispose();
      return result;
    });
  }

  attentionMaps(): AttentionMap[] {
    return [];
  }
}
