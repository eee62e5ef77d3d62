/** What the ranks of a linear evaluation tell each other: gradients and losses with each step, counts of a validation. */

import { type Collectives, sumValues } from '../dist/index.js';
import { cat, noGrad, scope, type Tensor, tensor } from '../torch/index.js';

/**
 * The gradients of a classifier are written down, not found by a backward pass that could go on meanwhile, so one sum
 * of everything is all there is to send.
 */
export class ProbeExchange {
  private asked = false;

  constructor(
    private readonly collectives: Collectives,
    /** whether this rank was asked to end */
    private readonly wishes: () => boolean,
  ) {}

  /** Whether a rank wished to end with the last step; the same on all ranks. */
  get isAskedToStop(): boolean {
    return this.asked;
  }

  /**
   * Means over `rows` rows of this rank become those over the rows of all ranks, in place. A rank without rows gives
   * zeros of the same shapes.
   */
  average(means: readonly Tensor[], rows: number): void {
    scope(() => {
      const { device } = means[0];
      const facts = tensor(Float32Array.of(rows, Number(this.wishes()))).to({ device });
      const flat = cat([...means.map((mean) => mean.reshape([-1]).mul(rows)), facts]);
      this.collectives.allReduceSum(flat);
      const size = flat.numel;
      const [all, asked] = flat.narrow(0, size - 2, 2).toFloat32();
      this.asked = asked > 0;
      flat.div_(all);
      let start = 0;
      for (const mean of means) {
        mean.copy_(flat.narrow(0, start, mean.numel).view(mean.shape));
        start += mean.numel;
      }
    });
  }

  /** Sums over all ranks. */
  sum(values: readonly number[]): number[] {
    return sumValues(this.collectives, values);
  }

  /** Rank 0's values become those of all. */
  spread(values: readonly Tensor[]): void {
    noGrad(() => {
      for (const value of values) this.collectives.broadcast(value);
    });
  }
}
