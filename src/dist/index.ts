/** The processes of a run, and what they exchange. */

import type { Tensor } from '../torch/index.js';

export interface Collectives {
  readonly rank: number;
  readonly worldSize: number;
  /** Adds up `x` over all processes, in place. */
  allReduceSum(x: Tensor): void;
}

/** A run of one process. */
export const alone: Collectives = {
  rank: 0,
  worldSize: 1,
  allReduceSum() {},
};
