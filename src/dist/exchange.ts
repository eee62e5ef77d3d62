/** Gradients of all ranks, averaged in buckets while backward goes on. */

import type { Tensor } from '../torch/index.js';
import { collectives, type ReducerId } from './binding.js';
import { type Collectives, withPeers } from './collectives.js';

export interface ExchangeOptions {
  /** bytes of a bucket, default 25 MiB as in PyTorch's DDP */
  bucketBytes?: number;
  /** of the first one, which should be on its way soon, default 1 MiB */
  firstBucketBytes?: number;
  /** number format between the processes, default float32 */
  wire?: 'float32' | 'bfloat16';
}

/** What one exchange took. */
export interface ExchangeStats {
  /** sent by this rank */
  bytes: number;
  /** seconds in which something was under way (0 where only the GPU knows) */
  busySeconds: number;
  /** of them, seconds after backward, in which nothing else was done */
  waitedSeconds: number;
  buckets: number;
}

const MEBIBYTE = 1 << 20;

/**
 * Averages gradients over all ranks. `arm` before the last backward of a step, `finish` after it: between them each
 * bucket is sent as soon as all its gradients are there. Backwards before `arm` only add up: nothing is sent.
 */
export class GradientExchange {
  private readonly reducer: ReducerId;
  private last: ExchangeStats = { bytes: 0, busySeconds: 0, waitedSeconds: 0, buckets: 0 };

  constructor(
    { group }: Collectives,
    /** that have gradients; in the same order on all ranks */
    parameters: readonly Tensor[],
    options: ExchangeOptions = {},
  ) {
    if (group === undefined) throw new Error('internal: a run of one process has nothing to exchange');
    this.reducer = collectives().reducerOpen(
      group,
      parameters.map(({ handle }) => handle),
      options.firstBucketBytes ?? MEBIBYTE,
      options.bucketBytes ?? 25 * MEBIBYTE,
      options.wire === 'bfloat16',
    );
  }

  arm(): void {
    collectives().reducerArm(this.reducer);
  }

  /** Waits for the buckets; then every parameter's `grad` is the average. */
  finish(): void {
    const [bytes, busySeconds, waitedSeconds, buckets] = withPeers(() =>
      collectives().reducerFinish(this.reducer),
    );
    this.last = { bytes, busySeconds, waitedSeconds, buckets };
  }

  /** Of the last step. */
  get stats(): ExchangeStats {
    return this.last;
  }

  close(): void {
    collectives().reducerClose(this.reducer);
  }
}
