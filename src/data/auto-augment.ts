/** Automatic augmentation of one crop: what chance makes of RandAugment, AutoAugment or AugMix, and its pixels. */

import { drawStep, type StepName, type StepSettings } from './augment-levels.js';
import type { PolicyStep } from './augment-policies.js';
import type { AutoAugment, Strength } from './augment-strings.js';
import { dirichlet, symmetricBeta } from './distributions.js';
import type { RandomStream } from './random.js';
import { type Place, type RetouchStep, retouch } from './retouch.js';

/** What is done to a crop, with nothing left to chance. */
export type AugmentRecipe = { kind: 'steps'; steps: readonly RetouchStep[] } | MixRecipe;

/** Chains of steps, each on the crop as it was, and how they are put together. */
export interface MixRecipe {
  kind: 'mix';
  chains: readonly (readonly RetouchStep[])[];
  /** one a chain, together 1 */
  weights: readonly number[];
  /** how much of the mixture there is in the result */
  share: number;
  isBlended: boolean;
}

interface Size {
  width: number;
  height: number;
}

export function drawAutoAugment(
  random: RandomStream,
  augment: AutoAugment,
  settings: StepSettings,
  size: Size,
): AugmentRecipe {
  const drawn = (name: StepName, probability: number, magnitude: number): RetouchStep[] => {
    if (probability < 1 && !random.chance(probability)) return [];
    return [drawStep(random, name, drawMagnitude(random, magnitude, augment), settings, size)];
  };
  switch (augment.kind) {
    case 'rand': {
      const names = drawNames(random, augment);
      return {
        kind: 'steps',
        steps: names.flatMap((name) => drawn(name, augment.probability, augment.magnitude)),
      };
    }
    case 'policy': {
      const pair: readonly PolicyStep[] = augment.policy[random.integer(augment.policy.length)];
      return { kind: 'steps', steps: pair.flatMap((step) => drawn(...step)) };
    }
    case 'mix': {
      const { width, depth, alpha, steps, magnitude, isBlended } = augment;
      const weights = dirichlet(random, alpha, width);
      const share = symmetricBeta(random, alpha);
      const chains = weights.map(() =>
        Array.from({ length: depth > 0 ? depth : 1 + random.integer(3) }, () =>
          drawn(steps[random.integer(steps.length)], 1, magnitude),
        ).flat(),
      );
      return { kind: 'mix', chains, weights, share, isBlended };
    }
  }
}

function drawMagnitude(random: RandomStream, magnitude: number, { spread, limit }: Strength): number {
  let value = magnitude;
  if (spread === Number.POSITIVE_INFINITY) value = random.uniform(0, magnitude);
  else if (spread > 0) value += spread * random.normal();
  return Math.min(limit, Math.max(0, value));
}

/** With weights none is drawn twice; without, each draw is free. */
function drawNames(
  random: RandomStream,
  { steps, weights, layers }: Extract<AutoAugment, { kind: 'rand' }>,
): StepName[] {
  if (weights === undefined) return Array.from({ length: layers }, () => steps[random.integer(steps.length)]);
  const left = [...weights];
  return Array.from({ length: layers }, () => {
    const at = random.uniform(
      0,
      left.reduce((sum, weight) => sum + weight, 0),
    );
    let sum = 0;
    let chosen = 0;
    for (const [i, weight] of left.entries()) {
      if (weight === 0) continue;
      chosen = i;
      sum += weight;
      if (sum > at) break;
    }
    left[chosen] = 0;
    return steps[chosen];
  });
}

/** Carries out a recipe on the picture at `place`. */
export function applyRecipe(pixels: Uint8Array, place: Place, recipe: AugmentRecipe): void {
  if (recipe.kind === 'mix') mix(pixels, place, recipe);
  else retouch(pixels, place, recipe.steps);
}

function mix(pixels: Uint8Array, place: Place, recipe: MixRecipe): void {
  const bytes = place.width * place.height * 3;
  const target = pixels.subarray(place.offset, place.offset + bytes);
  const original = target.slice();
  const chain = (i: number): Uint8Array => {
    const copy = original.slice();
    retouch(copy, { ...place, offset: 0 }, recipe.chains[i]);
    return copy;
  };
  if (recipe.isBlended) {
    // The shares that give each chain its weight in the end, though later blends weaken earlier ones.
    for (const [i, share] of blendShares(recipe).entries()) blend(target, chain(i), share);
    return;
  }
  const sum = new Float32Array(bytes);
  for (const [i, weight] of recipe.weights.entries()) add(sum, chain(i), Math.fround(weight));
  blend(target, cut(sum), recipe.share);
}

// Loops over pixels are functions of their own, so that they are compiled for their kinds of arrays.

function add(sum: Float32Array, part: Uint8Array, weight: number): void {
  for (let i = 0; i < sum.length; i++) sum[i] += Math.fround(weight * part[i]);
}

/** Bytes, the fractions cut off. */
function cut(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.min(255, Math.max(0, values[i]));
  return bytes;
}

function blendShares({ weights, share }: MixRecipe): number[] {
  const shares: number[] = [];
  let rest = 1;
  for (const weight of weights.toReversed()) {
    const part = rest > 0 ? Math.min(1, (weight * share) / rest) : 0;
    rest *= 1 - part;
    shares.unshift(part);
  }
  return shares;
}

/** target + share * (other - target), in float32 and with the fraction cut off, as in Pillow. */
function blend(target: Uint8Array, other: Uint8Array, share: number): void {
  const factor = Math.fround(share);
  for (let i = 0; i < target.length; i++) {
    const from = target[i];
    target[i] = Math.fround(from + Math.fround(factor * (other[i] - from)));
  }
}
