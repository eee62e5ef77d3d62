/** Whether all ranks still have the same weights: two figures of each tensor are compared in place of its values. */

import { RandomStream } from '../data/index.js';
import type { Collectives } from '../dist/index.js';
import type { Module } from '../nn/index.js';
import { noGrad, scope, stack, type Tensor, tensor } from '../torch/index.js';

/** A rank that has other weights than the rest. */
export interface Drift {
  rank: number;
  /** the first of its tensors that is off */
  tensor: string;
  /** about how far, as a share of the tensor's length */
  share: number;
}

/** What no rounding explains, not even that of ranks on different machines: a share of a tensor's length. */
const TOLERANCE = 1e-3;
/** Elements that are weighed at once. */
const PIECE = 4096;

/** All ranks call it together and find the same. `modules` by the names that a person is told. */
export function findDrift(
  collectives: Collectives,
  modules: Readonly<Record<string, Module>>,
): Drift | undefined {
  return noGrad(() =>
    scope(() => {
      const tensors = Object.entries(modules).flatMap(([name, module]) =>
        [...module.stateDict()]
          .filter(([, { dtype }]) => dtype.startsWith('float') || dtype.startsWith('bfloat'))
          .map(([key, value]) => ({ name: `${name} ${key}`, value })),
      );
      const factors = tensor(randomFactors(PIECE)).to({ device: tensors[0].value.device });
      const own = stack(
        tensors.flatMap(({ value }) => {
          const flat = value.detach().to({ dtype: 'float32' }).flatten();
          return [flat.normAll(2), weighedSum(flat, factors)];
        }),
      );
      const figures = collectives.allGather(own).toFloat32(); // [world, tensors * 2]
      const { worldSize } = collectives;
      const ranks = Array.from({ length: worldSize }, (_, rank) =>
        figures.subarray(2 * rank * tensors.length, 2 * (rank + 1) * tensors.length),
      );
      const found = oddOne(ranks);
      return found && { rank: found.rank, tensor: tensors[found.item].name, share: found.share };
    }),
  );
}

/**
 * x: [n] -> [], the sum of its values with factors drawn once and for all, of mean 0 and variance 1. Of two tensors
 * these sums differ by about as much as the tensors do, also where their lengths are equal.
 */
function weighedSum(x: Tensor, factors: Tensor): Tensor {
  const [n] = x.shape;
  if (n <= PIECE) return x.matmul(factors.narrow(0, 0, n));
  const rows = Math.floor(n / PIECE);
  const whole = x.narrow(0, 0, rows * PIECE).reshape([rows, PIECE]);
  const sum = weighedSum(whole.matmul(factors), factors);
  const rest = n - rows * PIECE;
  return rest === 0 ? sum : sum.add(weighedSum(x.narrow(0, rows * PIECE, rest), factors));
}

function randomFactors(count: number): Float32Array {
  const random = new RandomStream().key(0, 0, 0, 0);
  const most = Math.sqrt(3);
  return Float32Array.from({ length: count }, () => random.uniform(-most, most));
}

/**
 * Of the figures of all ranks, [length, weighed sum] of each tensor, the first rank that is off. Of two that differ
 * nobody knows which is wrong: the second, unless only the first has figures that are no numbers.
 */
export function oddOne(
  ranks: readonly Float32Array[],
): { rank: number; item: number; share: number } | undefined {
  const items = ranks[0].length / 2;
  for (let item = 0; item < items; item++) {
    const pairs = ranks.map((figures) => figures.subarray(2 * item, 2 * item + 2));
    const [length, sum] = ranks.length > 2 ? [0, 1].map((i) => middle(pairs, i)) : firstSound(pairs);
    for (const [rank, pair] of pairs.entries()) {
      if (Object.is(pair[0], length) && Object.is(pair[1], sum)) continue; // also where all have no number
      const share = Math.max(Math.abs(pair[0] - length), Math.abs(pair[1] - sum)) / length;
      if (!(share <= TOLERANCE)) return { rank, item, share };
    }
  }
  return undefined;
}

/** What most ranks agree on; no numbers come last. */
function middle(pairs: readonly Float32Array[], i: number): number {
  const values = Float32Array.from(pairs, (pair) => pair[i]).sort();
  return values[(values.length - 1) >> 1];
}

const firstSound = (pairs: readonly Float32Array[]): Float32Array =>
  pairs.find((pair) => pair.every(Number.isFinite)) ?? pairs[0];
