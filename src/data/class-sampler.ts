/** Orders that give every class a like number of pictures, for data with a few large classes and many small ones. */

import { UserError } from '../errors.js';
import { deal, type EpochOrder, type Ranks, type Shuffle } from './sampler.js';

/** The pictures of each class; classes without any are left out. */
export function picturesByClass(labels: ArrayLike<number>): Uint32Array[] {
  let most = -1;
  for (let i = 0; i < labels.length; i++) most = Math.max(most, labels[i]);
  const counts = new Uint32Array(most + 1);
  for (let i = 0; i < labels.length; i++) if (labels[i] >= 0) counts[labels[i]]++;
  const classes = Array.from(counts, (count) => new Uint32Array(count));
  counts.fill(0);
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i];
    if (label >= 0) classes[label][counts[label]++] = i;
  }
  return classes.filter(({ length }) => length > 0);
}

/** 'average' and 'median' are those of the sizes of the classes. */
export function picturesPerClass(
  classes: readonly Uint32Array[],
  wanted: number | 'average' | 'median',
): number {
  const sizes = classes.map(({ length }) => length).sort((a, b) => a - b);
  if (wanted === 'median') return sizes[sizes.length >> 1];
  if (wanted === 'average') return Math.floor(sizes.reduce((a, b) => a + b, 0) / sizes.length);
  return wanted;
}

/**
 * `perClass` rounds through all classes, each in a new order; every visit of a class takes its next picture, and when
 * all have had their turn, they come again in another order. The ranks take turns in the result.
 */
export function classAwareOrder(
  classes: readonly Uint32Array[],
  perClass: number,
  ranks: Ranks,
  shuffle: Shuffle,
): EpochOrder {
  const total = classes.length * perClass;
  const turns = Uint32Array.from(classes, (_, i) => i);
  const items = classes.map((pictures) => pictures.slice());
  const used = new Uint32Array(classes.length);
  const indices = new Uint32Array(total);
  const repeats = new Uint32Array(total);
  for (let round = 0, at = 0; round < perClass; round++) {
    shuffle(turns);
    for (const one of turns) {
      const own = items[one];
      const place = used[one] % own.length;
      if (place === 0) shuffle(own);
      indices[at] = own[place];
      repeats[at++] = Math.floor(used[one]++ / own.length);
    }
  }
  return { indices: deal(indices, ranks), repeats: deal(repeats, ranks) };
}

/** Pictures of a class, at most, so that all classes together have `target`. */
function limitFor(classes: readonly Uint32Array[], target: number): number {
  const all = classes.reduce((sum, { length }) => sum + length, 0);
  if (target > all)
    throw new UserError(
      'config',
      `--target_size ${target} is more than the ${all} labelled pictures; use at most that many, or 0 for all.`,
    );
  const given = (limit: number) => classes.reduce((sum, { length }) => sum + Math.min(limit, length), 0);
  let low = Math.ceil(target / classes.length);
  let high = classes.reduce((most, { length }) => Math.max(most, length), low);
  if (target === 0) return high;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (given(middle) >= target) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Pictures that all ranks together see in an epoch of `classTargetOrder`. */
export function classTargetSize(classes: readonly Uint32Array[], target: number): number {
  const limit = limitFor(classes, target);
  return classes.reduce((sum, { length }) => sum + Math.min(limit, length), 0);
}

/**
 * At least `target` pictures, as evenly over the classes as their sizes allow. The choice is the same in every epoch
 * (`choose`), the order is not (`shuffle`).
 */
export function classTargetOrder(
  classes: readonly Uint32Array[],
  target: number,
  ranks: Ranks,
  choose: Shuffle,
  shuffle: Shuffle,
): Uint32Array {
  const limit = limitFor(classes, target);
  const chosen = classes.map((pictures) => {
    const own = pictures.slice();
    choose(own);
    return own.subarray(0, Math.min(limit, own.length));
  });
  const size = chosen.reduce((sum, { length }) => sum + length, 0);
  // Filled up before it is shuffled, as in the original.
  const even = new Uint32Array(Math.ceil(size / ranks.world) * ranks.world);
  let at = 0;
  for (const own of chosen) {
    even.set(own, at);
    at += own.length;
  }
  for (; at < even.length; at++) even[at] = even[at - size];
  shuffle(even);
  return deal(even, ranks);
}
