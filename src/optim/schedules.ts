/** Schedules over a whole run, in float64. */

import { UserError } from '../errors.js';

export interface CosineOptions {
  base: number;
  final: number;
  epochs: number;
  iterationsPerEpoch: number;
  warmupEpochs?: number;
  startWarmup?: number;
}

/** n values from `from` to `to`, both included. */
function linearSpace(from: number, to: number, n: number): number[] {
  if (n === 1) return [from];
  const step = (to - from) / (n - 1);
  return Array.from({ length: n }, (_, i) => (i === n - 1 ? to : from + i * step));
}

/**
 * One value an iteration: linear from `startWarmup` to `base`, then half a cosine down (or up) to `final`:
 * final + (base - final) (1 + cos(π i / n)) / 2. Loshchilov and Hutter 2017, eq. 5.
 */
export function cosineSchedule(options: CosineOptions): Float64Array {
  const { base, final, epochs, iterationsPerEpoch, warmupEpochs = 0, startWarmup = 0 } = options;
  if (warmupEpochs > epochs)
    throw new UserError(
      'config',
      `a warm-up of ${warmupEpochs} epochs does not fit into ${epochs} epochs. Lower --warmup_epochs or raise --epochs.`,
    );
  const total = Math.round(epochs * iterationsPerEpoch);
  const warmup = Math.round(warmupEpochs * iterationsPerEpoch);
  const rise = warmup > 0 ? linearSpace(startWarmup, base, warmup) : [];
  const rest = total - rise.length;
  const fall = Array.from(
    { length: rest },
    (_, i) => final + 0.5 * (base - final) * (1 + Math.cos((Math.PI * i) / rest)),
  );
  return Float64Array.from([...rise, ...fall]);
}

/** Learning rates of linear evaluation: half a cosine from `base` to 0, one value an epoch and one after. */
export function cosineAnnealing(base: number, epochs: number): Float64Array {
  return Float64Array.from({ length: epochs + 1 }, (_, epoch) =>
    epoch === epochs ? 0 : (base * (1 + Math.cos((Math.PI * epoch) / epochs))) / 2,
  );
}
