/** Repeated augmentation (Hoffer et al., 2020): several views of a picture in the same step, on different ranks. */

import { counting, deal, type EpochOrder, type Ranks, type Shuffle } from './sampler.js';

/** An epoch is cut to a multiple of this, as in DeiT; smaller sets are not cut. */
const UNIT = 256;

/** Pictures that a rank sees in an epoch: as many as without repeats, so an epoch sees a part of the pictures. */
export function repeatedShare(n: number, world: number): number {
  const whole = n < UNIT ? n : Math.floor(n / UNIT) * UNIT;
  return Math.max(1, Math.floor(whole / world));
}

/** Every picture `times` times in a row, dealt out, and cut to the length of an ordinary epoch. */
export function repeatedOrder(n: number, times: number, ranks: Ranks, shuffle: Shuffle): EpochOrder {
  const order = counting(n);
  shuffle(order);
  const share = repeatedShare(n, ranks.world);
  const all = Uint32Array.from({ length: n * times }, (_, i) => order[Math.floor(i / times)]);
  const repeats = Uint32Array.from({ length: n * times }, (_, i) => i % times);
  return { indices: deal(all, ranks).slice(0, share), repeats: deal(repeats, ranks).slice(0, share) };
}
