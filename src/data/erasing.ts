/** Random erasing of normalised crops: rectangles are filled with constants or with noise, for a whole batch. */

import { arange, type Device, scope, type Tensor, tensor } from '../torch/index.js';
import type { Box } from './crop-draws.js';
import type { ErasingDraws } from './erase-draws.js';

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
