/** Affine maps: dense, convolutional, weight-normalised. */

import {
  autocastDtype,
  conv2d,
  empty,
  fits,
  halfWeightNorm,
  linear,
  noGrad,
  ones,
  scope,
  type Tensor,
  weightNorm,
  zeros,
} from '../torch/index.js';
import { fanInUniform, truncatedNormal } from './init.js';
import { Module, Parameter } from './module.js';

/** y = x Wᵀ + b; weight [outFeatures, inFeatures]. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;

  constructor(inFeatures: number, outFeatures: number, options: { bias?: boolean } = {}) {
    super();
    this.weight = new Parameter(fanInUniform(empty([outFeatures, inFeatures]), inFeatures));
    this.bias = (options.bias ?? true) ? new Parameter(fanInUniform(empty([outFeatures]), inFeatures)) : null;
  }

  /** x: [..., inFeatures] -> [..., outFeatures] */
  forward(x: Tensor): Tensor {
    if (x.ndim <= 3) return linear(x, this.weight, this.bias);
    // libtorch adds the bias inside the product only for up to three dimensions.
    return scope(() => {
      const [outFeatures, inFeatures] = this.weight.shape;
      const rows = linear(x.reshape([-1, inFeatures]), this.weight, this.bias);
      return rows.view([...x.shape.slice(0, -1), outFeatures]);
    });
  }
}

/** weight [outChannels, inChannels / groups, kernel, kernel] */
export class Conv2d extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  private readonly geometry: { stride: number; padding: number; groups: number };

  constructor(
    inChannels: number,
    outChannels: number,
    kernel: number,
    options: { stride?: number; padding?: number; groups?: number; bias?: boolean } = {},
  ) {
    super();
    const { stride = 1, padding = 0, groups = 1, bias = true } = options;
    const fanIn = (inChannels / groups) * kernel * kernel;
    this.weight = new Parameter(
      fanInUniform(empty([outChannels, inChannels / groups, kernel, kernel]), fanIn),
    );
    this.bias = bias ? new Parameter(fanInUniform(empty([outChannels]), fanIn)) : null;
    this.geometry = { stride, padding, groups };
  }

  /** x: [B, inChannels, H, W] -> [B, outChannels, H', W'] */
  forward(x: Tensor): Tensor {
    const { stride, padding, groups } = this.geometry;
    return conv2d(x, this.weight, this.bias, stride, padding, 1, groups);
  }
}

/** Draws all maps of `kind` in `network` anew as the original starts them: deviation 0.02, cut at ±2, biases of 0. */
export function startNarrow(network: Module, kind: typeof Linear | typeof Conv2d = Linear): void {
  startMaps(network, kind, () => 0.02);
}

/**
 * Draws all linear maps of `network` anew with a deviation of 1/sqrt(inputs), biases of 0: outputs are about as large as
 * inputs at any width. A deviation of 0.02 does that at 2,500 inputs; maps of 32 inputs all but silence what is not linear.
 */
export function startByFanIn(network: Module): void {
  startMaps(network, Linear, ({ shape }) => 1 / Math.sqrt(shape[1]));
}

function startMaps(
  network: Module,
  kind: typeof Linear | typeof Conv2d,
  deviation: (weight: Parameter) => number,
): void {
  for (const [, module] of network.modules())
    if (module instanceof kind) {
      truncatedNormal(module.weight, deviation(module.weight));
      const { bias } = module;
      if (bias !== null) noGrad(() => bias.zero_());
    }
}

/** A linear map without bias whose rows are g·v/|v| (Salimans and Kingma 2016). */
export class WeightNormLinear extends Module {
  /** [outFeatures, 1] */
  readonly weightG: Parameter;
  /** [outFeatures, inFeatures] */
  readonly weightV: Parameter;

  constructor(inFeatures: number, outFeatures: number, options: { trainGain?: boolean } = {}) {
    super();
    this.weightG = new Parameter(ones([outFeatures, 1]), { trainable: options.trainGain ?? true });
    this.weightV = new Parameter(fanInUniform(empty([outFeatures, inFeatures]), inFeatures));
  }

  /** The effective weight [outFeatures, inFeatures], as products take it. */
  weight(): Tensor {
    const { weightV, weightG } = this;
    // Under autocast the product would round it: done at once, it passes through memory once.
    if (autocastDtype(weightV.device) === 'bfloat16' && fits(weightV))
      return halfWeightNorm(weightV, weightG);
    return weightNorm(this.weightV, this.weightG, 0);
  }

  /** x: [..., inFeatures] -> [..., outFeatures] */
  forward(x: Tensor): Tensor {
    return scope(() => linear(x, this.weight()));
  }
}

/** A parameter of zeros, such as a bias table before its initialisation. */
export function zeroParameter(shape: readonly number[]): Parameter {
  return new Parameter(zeros(shape));
}
