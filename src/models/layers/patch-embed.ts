/** Pictures to tokens. */

import { fanInUniform, LayerNorm, Module, Parameter } from '../../nn/index.js';
import { empty, linear, scope, type Tensor } from '../../torch/index.js';

export interface PatchEmbedOptions {
  patchSize: number;
  embedDim: number;
  /** eps of a LayerNorm after the projection, or null for none */
  normEps: number | null;
}

/** A convolution whose stride is its kernel: one linear map a patch. */
class PatchProjection extends Module {
  /** [embedDim, 3, patch, patch] */
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(
    private readonly patchSize: number,
    embedDim: number,
  ) {
    super();
    const fanIn = 3 * patchSize * patchSize;
    this.weight = new Parameter(fanInUniform(empty([embedDim, 3, patchSize, patchSize]), fanIn));
    this.bias = new Parameter(fanInUniform(empty([embedDim]), fanIn));
  }

  /**
   * x: [B, 3, H, W] -> [B, H/patch, W/patch, embedDim]; a remainder at the right and bottom is cut off, as by
   * the convolution. As a matrix product it is several times faster than a strided convolution on CPUs.
   */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const p = this.patchSize;
      const [batch, channels, height, width] = x.sizes(4);
      const [rows, columns] = [Math.floor(height / p), Math.floor(width / p)];
      if (rows === 0 || columns === 0)
        throw new Error(`a picture of ${height}x${width} pixels is smaller than one patch of ${p}x${p}`);
      const patches = x
        .narrow(2, 0, rows * p)
        .narrow(3, 0, columns * p)
        .reshape([batch, channels, rows, p, columns, p])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([batch, rows, columns, channels * p * p]);
      return linear(patches, this.weight.flatten(1), this.bias);
    });
  }
}

export class PatchEmbed extends Module {
  readonly proj: PatchProjection;
  readonly norm: LayerNorm | null;

  constructor(options: PatchEmbedOptions) {
    super();
    this.proj = new PatchProjection(options.patchSize, options.embedDim);
    this.norm = options.normEps === null ? null : new LayerNorm(options.embedDim, options.normEps);
  }

  /** x: [B, 3, H, W] -> [B, rows, columns, embedDim] */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const tokens = this.proj.forward(x);
      return this.norm === null ? tokens : this.norm.forward(tokens);
    });
  }
}
