/** What chance decides about a crop: its box, its mirror image, its colours. */

import type { CropGroup, CropPlan, Range } from './crop-plan.js';
import type { PhotometricDraws } from './photometric.js';
import type { RandomStream } from './random.js';

export interface Box {
  top: number;
  left: number;
  height: number;
  width: number;
}

/** Halves go to the even neighbour, as in Python. */
export function roundHalfEven(value: number): number {
  const whole = Math.floor(value);
  const part = value - whole;
  if (part !== 0.5) return part < 0.5 ? whole : whole + 1;
  return whole % 2 === 0 ? whole : whole + 1;
}

const ATTEMPTS = 10;

/** torchvision's RandomResizedCrop: a box of random area and shape, or the largest centred one of fair shape. */
export function randomResizedCrop(
  random: RandomStream,
  height: number,
  width: number,
  scale: Range,
  ratio: Range,
): Box {
  const area = height * width;
  const low = Math.log(ratio[0]);
  const high = Math.log(ratio[1]);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const target = area * random.uniform(scale[0], scale[1]);
    const shape = Math.exp(random.uniform(low, high));
    const w = roundHalfEven(Math.sqrt(target * shape));
    const h = roundHalfEven(Math.sqrt(target / shape));
    if (w > 0 && w <= width && h > 0 && h <= height)
      return {
        top: random.integer(height - h + 1),
        left: random.integer(width - w + 1),
        height: h,
        width: w,
      };
  }
  return fallbackBox(height, width, ratio);
}

/** The box where no attempt fits (very long pictures, very small ones). */
export function fallbackBox(height: number, width: number, ratio: Range): Box {
  let w = width;
  let h = height;
  if (width / height < ratio[0]) h = roundHalfEven(width / ratio[0]);
  else if (width / height > ratio[1]) w = roundHalfEven(height * ratio[1]);
  return { top: Math.floor((height - h) / 2), left: Math.floor((width - w) / 2), height: h, width: w };
}

/** Draws the colour changes of one crop into row `row`. */
export function drawPhotometric(
  random: RandomStream,
  plan: CropPlan,
  group: CropGroup,
  view: number,
  draws: PhotometricDraws,
  row: number,
): void {
  const { photometric } = plan;
  const order = draws.order.subarray(row * 4, row * 4 + 4);
  for (let i = 0; i < 4; i++) order[i] = i;
  const jitter = random.chance(photometric.jitter);
  if (jitter) random.shuffle(order);
  const factor = (range: Range) => (jitter ? random.uniform(range[0], range[1]) : Number.NaN);
  // A turn by nothing would still go through 8-bit HSV and back.
  const noHue = photometric.hue[0] === 0 && photometric.hue[1] === 0;
  draws.brightness[row] = factor(photometric.brightness);
  draws.contrast[row] = factor(photometric.contrast);
  draws.saturation[row] = factor(photometric.saturation);
  const hue = factor(photometric.hue);
  draws.hue[row] = noHue ? Number.NaN : hue;
  draws.gray[row] = random.chance(photometric.gray) ? 1 : 0;
  const [thin, wide] = photometric.blurRadius;
  draws.blurRadius[row] = random.chance(group.blur[view]) ? random.uniform(thin, wide) : 0;
  draws.solarize[row] = random.chance(group.solarize[view]) ? 1 : 0;
  // Without inversions nothing is drawn for them: the crops stay what they were.
  if (photometric.invert > 0 && random.chance(photometric.invert)) draws.solarize[row] = 2;
}
