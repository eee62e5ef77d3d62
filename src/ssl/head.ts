/** The projection head of DINO (Caron et al. 2021, appendix C). */

import { BatchNorm, Linear, Module, startNarrow, WeightNormLinear } from '../nn/index.js';
import { gelu, scope, type Tensor } from '../torch/index.js';

export interface HeadOptions {
  inDim: number;
  outDim: number;
  useBn: boolean;
  /** keep the gain of the last layer at 1 */
  normLastLayer: boolean;
  nlayers: number;
  hiddenDim: number;
  bottleneckDim: number;
}

export const HEAD_DEFAULTS = { nlayers: 3, hiddenDim: 2048, bottleneckDim: 256 } as const;

/** MLP, unit length, then a weight-normalised linear map onto `outDim` prototypes. */
export class DinoHead extends Module {
  /** null stands for a GELU, which has no weights but counts in the official names */
  readonly mlp: readonly (Module | null)[] | Linear;
  readonly lastLayer: WeightNormLinear;

  constructor(options: HeadOptions) {
    super();
    const { inDim, outDim, useBn, normLastLayer, nlayers, hiddenDim, bottleneckDim } = options;
    if (nlayers <= 1) {
      this.mlp = projection(inDim, bottleneckDim);
    } else {
      const layers: (Module | null)[] = [];
      for (let i = 0; i < nlayers - 1; i++) {
        layers.push(projection(i === 0 ? inDim : hiddenDim, hiddenDim));
        if (useBn) layers.push(new BatchNorm(hiddenDim));
        layers.push(null);
      }
      layers.push(projection(hiddenDim, bottleneckDim));
      this.mlp = layers;
    }
    this.lastLayer = new WeightNormLinear(bottleneckDim, outDim, { trainGain: !normLastLayer });
  }

  /** x: [rows, inDim] -> logits [rows, outDim] */
  forward(x: Tensor): Tensor {
    return scope(() => this.lastLayer.forward(this.embed(x)));
  }

  /** x: [rows, inDim] -> [rows, bottleneckDim] of unit length: what the prototypes are compared with */
  embed(x: Tensor): Tensor {
    return scope(() => {
      let y = x;
      for (const layer of this.mlp instanceof Linear ? [this.mlp] : this.mlp)
        y = layer === null ? gelu(y) : (layer as Linear | BatchNorm).forward(y);
      return unitLength(y);
    });
  }
}

function projection(inDim: number, outDim: number): Linear {
  const layer = new Linear(inDim, outDim);
  startNarrow(layer);
  return layer;
}

/** x: [..., D] -> x / max(|x|, 1e-12) */
export function unitLength(x: Tensor): Tensor {
  return scope(() => x.div(x.norm(2, [-1], true).clampMin(1e-12)));
}
