/** Which pictures a rank sees in an epoch, and in which order: pure functions of their arguments. */

import { PURPOSE, RandomStream } from './random.js';

export interface Share {
  seed: number;
  epoch: number;
  rank: number;
  /** number of ranks */
  world: number;
  /** false: in the order of the data set */
  shuffle?: boolean;
}

/**
 * The indices of this rank. All ranks get equally many: the order is filled up from its own beginning, then
 * dealt out one by one, as PyTorch's DistributedSampler does. Length: ceil(n / world).
 */
export function epochOrder(n: number, share: Share): Uint32Array {
  const { seed, epoch, rank, world } = share;
  const order =
    share.shuffle === false
      ? Uint32Array.from({ length: n }, (_, i) => i)
      : new RandomStream().key(seed, epoch, 0, PURPOSE.shuffle).permutation(n);
  if (world === 1) return order;
  const own = new Uint32Array(Math.ceil(n / world));
  for (let i = 0; i < own.length; i++) own[i] = order[(i * world + rank) % n];
  return own;
}

/** Batches an epoch has for a rank that sees `images`; an incomplete last one is dropped unless told otherwise. */
export function iterationsPerEpoch(images: number, batchSize: number, keepLast = false): number {
  return keepLast ? Math.ceil(images / batchSize) : Math.floor(images / batchSize);
}
