/** How a stage of CvT takes in the map before it: an overlapping convolution, or a deep stem. */

import { BatchNorm, Conv2d, type LayerNorm, Module } from '../../nn/index.js';
import { scope, type Tensor } from '../../torch/index.js';
import { Float32LayerNorm } from './norm.js';

export interface ConvEmbedOptions {
  inChannels: number;
  dim: number;
  kernel: number;
  stride: number;
  padding: number;
  normEps: number;
}

/** A strided convolution over overlapping patches, then a norm. */
export class ConvEmbed extends Module {
  readonly proj: Conv2d;
  readonly norm: LayerNorm;

  constructor(private readonly options: ConvEmbedOptions) {
    super();
    const { inChannels, dim, kernel, stride, padding, normEps } = options;
    this.proj = new Conv2d(inChannels, dim, kernel, { stride, padding });
    this.norm = new Float32LayerNorm(dim, normEps);
  }

  /** x: [B, inChannels, H, W] -> [B, H', W', dim] */
  forward(x: Tensor): Tensor {
    const { kernel, padding } = this.options;
    const [, , height, width] = x.sizes(4);
    if (height + 2 * padding < kernel || width + 2 * padding < kernel) {
      const side = kernel - 2 * padding;
      throw new Error(`a map of ${height}x${width} pixels is smaller than one patch of ${side}x${side}`);
    }
    return scope(() => this.norm.forward(this.proj.forward(x).permute([0, 2, 3, 1]).contiguous()));
  }
}

/** Three small convolutions with batch norm in place of one large, a quarter of the size. */
export class DeepStem extends Module {
  /** null stands for a ReLU, which has no weights but counts in the official names */
  readonly stem: readonly (Conv2d | BatchNorm | null)[];

  constructor(dim: number) {
    super();
    const layer = (inChannels: number, stride: number) => [
      new Conv2d(inChannels, dim, 3, { stride, padding: 1, bias: false }),
      new BatchNorm(dim),
      null,
    ];
    this.stem = [...layer(3, 2), ...layer(dim, 1), ...layer(dim, 2)];
  }

  /** x: [B, 3, H, W] -> [B, ceil(H/4), ceil(W/4), dim] */
  forward(x: Tensor): Tensor {
    return scope(() => {
      let y = x;
      for (const layer of this.stem) y = layer === null ? y.relu_() : layer.forward(y);
      return y.permute([0, 2, 3, 1]).contiguous();
    });
  }
}
