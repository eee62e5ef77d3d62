/** Which pictures a rank sees in an epoch, and in which order: pure functions of their arguments. */

import { PURPOSE, RandomStream } from './random.js';

/** The place of a process among all of a run. */
export interface Ranks {
  rank: number;
  /** number of ranks */
  world: number;
}

export interface Share extends Ranks {
  seed: number;
  epoch: number;
  /** false: in the order of the data set */
  shuffle?: boolean;
}

/** Puts items into another order, in place. */
export type Shuffle = (items: Uint32Array) => void;

/** The pictures of a rank in an epoch, in order. */
export interface EpochOrder {
  indices: Uint32Array;
  /**
   * For orders that give a picture several times on purpose: how often it came before, over all ranks. Its crops are
   * drawn anew each time. Left out where each comes once.
   */
  repeats?: Uint32Array;
}

export interface Sampler {
  /** pictures that a rank sees in an epoch, the same for all ranks */
  readonly length: number;
  order(epoch: number): EpochOrder;
}

/** The shuffle of an epoch; called again it goes on, and another call of this starts it anew. */
export function epochShuffle(seed: number, epoch: number): Shuffle {
  const random = new RandomStream().key(seed, epoch, 0, PURPOSE.shuffle);
  return (items) => random.shuffle(items);
}

export function counting(n: number, from = 0): Uint32Array {
  return Uint32Array.from({ length: n }, (_, i) => from + i);
}

/**
 * Every `world`-th item, beginning with the `rank`-th. All ranks get equally many: the items are filled up from
 * their own beginning, as PyTorch's DistributedSampler does. Length: ceil(n / world).
 */
export function deal(items: Uint32Array, { rank, world }: Ranks): Uint32Array {
  if (world === 1) return items;
  const n = items.length;
  const own = new Uint32Array(Math.ceil(n / world));
  for (let i = 0; i < own.length; i++) own[i] = items[(i * world + rank) % n];
  return own;
}

/** PyTorch's DistributedSampler: everything once, shuffled and dealt out. */
export function epochOrder(n: number, share: Share): Uint32Array {
  const order = counting(n);
  if (share.shuffle !== false) epochShuffle(share.seed, share.epoch)(order);
  return deal(order, share);
}

/** Batches an epoch has for a rank that sees `images`; an incomplete last one is dropped unless told otherwise. */
export function iterationsPerEpoch(images: number, batchSize: number, keepLast = false): number {
  return keepLast ? Math.ceil(images / batchSize) : Math.floor(images / batchSize);
}
