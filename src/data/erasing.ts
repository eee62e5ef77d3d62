/** Random erasing (Zhong et al. 2020): rectangles of normalised crops are filled with constants or with noise. */

import { arange, type Device, scope, type Tensor, tensor } from '../torch/index.js';
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

/** A rectangle of one crop, with the key of its noise. */
interface Patch extends Box {
  row: number;
  key: number;
}

/** x: [n, 3, h, w], normalised; changed in place. */
export function erase(x: Tensor, draws: ErasingDraws): void {
  const patches = patchesOf(draws);
  if (patches.length === 0) return;
  scope(() => {
    const shapeOf = ({ height, width }: Patch) => (draws.mode === 'pixel' ? [3, height, width] : [3, 1, 1]);
    const fillings = draws.mode === 'const' ? undefined : noise(patches, patches.map(shapeOf), x.device);
    for (const [i, { row, top, left, height, width }] of patches.entries())
      scope(() => {
        const part = x.select(0, row).narrow(1, top, height).narrow(2, left, width);
        if (fillings === undefined) part.zero_();
        else part.copy_(fillings[i]);
      });
  });
}

function patchesOf({ count, boxes, keys }: ErasingDraws): Patch[] {
  const patches: Patch[] = [];
  for (let row = 0; row < keys.length; row++)
    for (let i = 0; i < count; i++) {
      const [top, left, height, width] = boxes.subarray((row * count + i) * 4);
      const key = (Math.imul(i + 1, GOLDEN_RATIO) ^ keys[row]) >>> 0;
      if (height > 0) patches.push({ top, left, height, width, row, key });
    }
  return patches;
}

const GOLDEN_RATIO = 0x9e3779b1;
const WORD = 0xffffffff;

/** A mixer of 32 bits: pairs of a shift and an odd factor ("lowbias32" by Wellons). */
const ROUNDS: readonly (readonly [shift: number, factor: number])[] = [
  [16, 0x7feb352d],
  [15, 0x846ca68b - 2 ** 32],
];

/** Standard normal numbers for every patch, all in one go; each patch's follow from its own key alone. */
function noise(patches: readonly Patch[], shapes: readonly number[][], device: Device): Tensor[] {
  const lengths = shapes.map((shape) => shape.reduce((product, side) => product * side, 1));
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const starts = [0];
  for (const length of lengths.slice(0, -1)) starts.push(starts[starts.length - 1] + length);
  const int64 = (values: readonly number[]) => tensor(BigInt64Array.from(values, BigInt), { device });
  const patch = arange(0, patches.length, undefined, { dtype: 'int64', device }).repeatInterleave(
    int64(lengths),
  );
  const perValue = (values: readonly number[]) => int64(values).indexSelect(0, patch);
  const number = arange(0, total, undefined, { dtype: 'int64', device }).sub_(perValue(starts));
  const keys = perValue(patches.map(({ key }) => key));
  // Box and Muller: two uniform numbers for each normal one, in (0, 1].
  const uniform = (which: number) =>
    scramble(number.mul(2).add_(which), keys)
      .to({ dtype: 'float64' })
      .add_(1)
      .div_(2 ** 32);
  const normal = uniform(0)
    .log()
    .mul_(-2)
    .sqrt()
    .mul_(
      uniform(1)
        .mul_(2 * Math.PI)
        .cos(),
    )
    .to({ dtype: 'float32' });
  return normal.splitWithSizes(lengths).map((part, i) => part.view(shapes[i]));
}

/** Numbers and keys to 32 random bits each, in int64, where products wrap without harm. */
function scramble(number: Tensor, keys: Tensor): Tensor {
  let x = number.mul(GOLDEN_RATIO).add_(keys).bitwiseAnd(WORD);
  for (const [shift, factor] of ROUNDS) x = x.bitwiseXor(x.shiftRight(shift)).mul_(factor).bitwiseAnd(WORD);
  return x.bitwiseXor(x.shiftRight(16));
}
