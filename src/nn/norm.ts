/** Normalisations. */

import { alone, type Collectives, syncBatchNorm } from '../dist/index.js';
import {
  batchNorm,
  fits,
  fusedLayerNorm,
  layerNorm,
  ones,
  scope,
  type Tensor,
  tensor,
  zeros,
} from '../torch/index.js';
import { Buffer, Module, Parameter } from './module.js';

/** Over the last dimension (Ba et al. 2016). */
export class LayerNorm extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(
    private readonly dim: number,
    private readonly eps = 1e-5,
  ) {
    super();
    this.weight = new Parameter(ones([dim]));
    this.bias = new Parameter(zeros([dim]));
  }

  /** x: [..., dim] -> the same shape */
  forward(x: Tensor): Tensor {
    // libtorch's own is vectorised for bfloat16 from version 2 on only, and wants all arguments of one dtype before.
    if (x.dtype === 'bfloat16' && fits(x, this.weight))
      return fusedLayerNorm(x, this.weight, this.bias, this.eps);
    if (x.dtype !== this.weight.dtype && x.device === 'cpu')
      return scope(() => {
        const [weight, bias] = [this.weight, this.bias].map((own) => own.to({ dtype: x.dtype }));
        return layerNorm(x, [this.dim], weight, bias, this.eps);
      });
    return layerNorm(x, [this.dim], this.weight, this.bias, this.eps);
  }
}

/**
 * Over all dimensions but the second (Ioffe and Szegedy 2015); for [B, C] and [B, C, H, W]. In training the batch is
 * that of all ranks, once `synchroniseBatchNorms` has said so.
 */
export class BatchNorm extends Module {
  private collectives: Collectives = alone;

  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly runningMean: Buffer;
  readonly runningVar: Buffer;
  readonly numBatchesTracked: Buffer;

  constructor(
    channels: number,
    private readonly eps = 1e-5,
    private readonly momentum = 0.1,
  ) {
    super();
    this.weight = new Parameter(ones([channels]));
    this.bias = new Parameter(zeros([channels]));
    this.runningMean = new Buffer(zeros([channels]));
    this.runningVar = new Buffer(ones([channels]));
    this.numBatchesTracked = new Buffer(tensor(new BigInt64Array([0n]), { shape: [] }));
  }

  /** x: [B, C, ...] -> the same shape */
  forward(x: Tensor): Tensor {
    if (this.training) this.numBatchesTracked.add_(1);
    const { group } = this.collectives;
    if (this.training && group !== undefined)
      return syncBatchNorm(
        group,
        x,
        { weight: this.weight, bias: this.bias },
        { mean: this.runningMean, variance: this.runningVar },
        { momentum: this.momentum, eps: this.eps },
      );
    return batchNorm(
      x,
      this.weight,
      this.bias,
      this.runningMean,
      this.runningVar,
      this.training,
      this.momentum,
      this.eps,
      true,
    );
  }

  /** Takes statistics over the batches of all these ranks from now on. */
  synchronise(collectives: Collectives): void {
    this.collectives = collectives;
  }
}

/** All batch norms of `module` normalise by the statistics of all ranks, as PyTorch's SyncBatchNorm does. */
export function synchroniseBatchNorms(module: Module, collectives: Collectives): void {
  for (const [, part] of module.modules()) if (part instanceof BatchNorm) part.synchronise(collectives);
}
