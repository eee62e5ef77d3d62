/** Random erasing (Zhong et al. 2020, arXiv 1708.04896): which rectangles a crop loses; no pixels yet. */

import { type Box, roundHalfEven } from './crop-draws.js';
import type { Range } from './crop-plan.js';
import type { RandomStream } from './random.js';

/** What fills a rectangle: zero (the mean of the data set), one normal number a channel, or one for every value. */
export type EraseMode = 'const' | 'rand' | 'pixel';

export interface ErasePolicy {
  /** that a crop loses anything */
  probability: number;
  mode: EraseMode;
  /** most rectangles in a crop; their number is drawn from 1 to this */
  count: number;
  /** share of the crop that its rectangles together are meant to cover */
  area: Range;
  /** least height to width; the greatest is its inverse, and its logarithm is drawn uniformly */
  aspect: number;
  /** draws of a rectangle that fits, before there is none */
  attempts: number;
}

export const RANDOM_ERASING: ErasePolicy = {
  probability: 0.25,
  mode: 'pixel',
  count: 1,
  area: [0.02, 1 / 3],
  aspect: 0.3,
  attempts: 10,
};

/** What was drawn for each of n crops. */
export interface ErasingDraws {
  mode: EraseMode;
  /** rectangles a crop has room for */
  count: number;
  /** [n * count * 4] top, left, height, width; height 0: none */
  boxes: Int32Array;
  /** [n] the key of the crop's noise */
  keys: Int32Array;
}

/** The rectangles of one crop, none in most cases. */
export function eraseBoxes(random: RandomStream, height: number, width: number, policy: ErasePolicy): Box[] {
  if (!random.chance(policy.probability)) return [];
  const wanted = policy.count > 1 ? 1 + random.integer(policy.count) : 1;
  const limit = -Math.log(policy.aspect);
  const boxes: Box[] = [];
  for (let i = 0; i < wanted; i++)
    for (let attempt = 0; attempt < policy.attempts; attempt++) {
      const area = (random.uniform(...policy.area) * height * width) / wanted;
      const aspect = Math.exp(random.uniform(-limit, limit));
      const h = roundHalfEven(Math.sqrt(area * aspect));
      const w = roundHalfEven(Math.sqrt(area / aspect));
      if (h >= height || w >= width) continue;
      if (h > 0 && w > 0)
        boxes.push({
          top: random.integer(height - h + 1),
          left: random.integer(width - w + 1),
          height: h,
          width: w,
        });
      break;
    }
  return boxes;
}

/** Draws the rectangles of crop `row` of n. */
export function drawErasing(
  random: RandomStream,
  size: number,
  policy: ErasePolicy,
  draws: ErasingDraws,
  row: number,
): void {
  const { count, boxes, keys } = draws;
  boxes.fill(0, row * count * 4, (row + 1) * count * 4);
  for (const [i, box] of eraseBoxes(random, size, size, policy).entries())
    boxes.set([box.top, box.left, box.height, box.width], (row * count + i) * 4);
  keys[row] = random.bits() | 0;
}
