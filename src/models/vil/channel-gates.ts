/** Gates on channels, from the mean over all tokens: squeeze-and-excitation (SE) and its efficient kin (ECA). */

import { fanInUniform, Linear, Module, Parameter } from '../../nn/index.js';
import { conv1d, empty, scope, type Tensor } from '../../torch/index.js';

/** A ReLU or a sigmoid, to keep the places of linear maps in a list as they are in checkpoints. */
class Activation extends Module {
  constructor(private readonly apply: (x: Tensor) => Tensor) {
    super();
  }

  forward(x: Tensor): Tensor {
    return this.apply(x);
  }
}

/** Two linear maps with a narrow waist (Hu et al. 2018). */
export class SqueezeExcite extends Module {
  readonly fc: readonly (Linear | Activation)[];

  constructor(dim: number, ratio: number) {
    super();
    const hidden = Math.trunc(dim * ratio);
    this.fc = [
      new Linear(dim, hidden, { bias: false }),
      new Activation((x) => x.relu()),
      new Linear(hidden, dim, { bias: false }),
      new Activation((x) => x.sigmoid()),
    ];
  }

  /** x: [B, L, dim] -> the same shape */
  forward(x: Tensor): Tensor {
    return scope(() => x.mul(this.fc.reduce((y, layer) => layer.forward(y), x.mean([1], true))));
  }
}

class ChannelConvolution extends Module {
  /** [1, 1, kernel] */
  readonly weight: Parameter;

  constructor(private readonly kernel: number) {
    super();
    this.weight = new Parameter(fanInUniform(empty([1, 1, kernel]), kernel));
  }

  /** x: [B, 1, dim] -> the same shape */
  forward(x: Tensor): Tensor {
    return conv1d(x, this.weight, null, 1, (this.kernel - 1) / 2);
  }
}

/** A convolution over neighbouring channels (Wang et al. 2020). */
export class ChannelAttention extends Module {
  readonly conv: ChannelConvolution;

  constructor(dim: number, ratio: number) {
    super();
    const wanted = Math.trunc(ratio * dim);
    this.conv = new ChannelConvolution(wanted % 2 === 0 ? wanted + 1 : wanted);
  }

  /** x: [B, L, dim] -> the same shape */
  forward(x: Tensor): Tensor {
    return scope(() => x.mul(this.conv.forward(x.mean([1], true)).sigmoid()));
  }
}
