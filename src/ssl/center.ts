/** The running mean of the teacher's outputs, which is taken off them so that no output dominates. */

import type { Collectives } from '../dist/index.js';
import { type Buffer, Module } from '../nn/index.js';
import { noGrad, scope, type Tensor } from '../torch/index.js';

/** Sums teacher rows over the batches of a step and over all processes, then moves a centre. DINO, eq. 4. */
export class CenterUpdate extends Module {
  private sum: Tensor | undefined;
  private rows = 0;

  constructor(
    private readonly center: Buffer,
    private readonly momentum: number,
    private readonly collectives: Collectives,
  ) {
    super();
  }

  /** The centre is its owner's to name. */
  override *modules(): Generator<[string, Module]> {}

  /** output: [rows, K] teacher logits of one batch */
  collect(output: Tensor): void {
    noGrad(() => {
      const sum = scope(() => output.sum([0], true, { dtype: 'float32' }));
      if (this.sum === undefined) {
        this.sum = sum.keep();
      } else {
        this.sum.add_(sum);
        sum.dispose();
      }
      this.rows += output.shape[0];
    });
  }

  /** Forgets what was collected: the step is not taken. */
  drop(): void {
    this.sum?.dispose();
    this.sum = undefined;
    this.rows = 0;
  }

  /** center <- momentum * center + (1 - momentum) * mean of the collected rows of all processes */
  apply(): void {
    const { sum } = this;
    if (sum === undefined) return;
    this.collectives.allReduceSum(sum);
    noGrad(() =>
      scope(() => {
        const mean = sum.div(this.rows * this.collectives.worldSize);
        this.center.mul_(this.momentum).add_(mean, { alpha: 1 - this.momentum });
      }),
    );
    sum.dispose();
    this.sum = undefined;
    this.rows = 0;
  }
}
