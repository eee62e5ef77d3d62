/** The steps of RandAugment and its kin as jobs of the addon: what Pillow does, with numbers that are settled. */

import { nativeImage, type Picture } from './native-image.js';

/** Red, green, blue. */
export type Colour = readonly [number, number, number];

/** How an affine step looks up between pixels. */
export type AffineFilter = 'bilinear' | 'bicubic';

/** One step on a picture. Geometry leaves the size as it is; what comes from outside takes the fill colour. */
export type RetouchStep =
  | { op: 'autoContrast' | 'equalize' | 'invert' }
  | { op: 'posterize'; bits: number }
  | { op: 'solarize'; threshold: number }
  | { op: 'solarizeAdd'; add: number; threshold: number }
  | { op: 'color' | 'contrast' | 'brightness' | 'sharpness'; factor: number }
  /** in pixels or, for shears, pixels a pixel; degrees turn anticlockwise */
  | ({ op: 'shearX' | 'shearY' | 'translateX' | 'translateY' | 'rotate'; by: number } & Lookup);

export interface Lookup {
  filter: AffineFilter;
  fill: Colour;
}

/** Numbers in the order of `enum class Step` in native/retouch.h. */
const STEP = {
  autoContrast: 0,
  equalize: 1,
  invert: 2,
  posterize: 3,
  solarize: 4,
  solarizeAdd: 5,
  color: 6,
  contrast: 7,
  brightness: 8,
  sharpness: 9,
  affine: 10,
} as const;

export const RETOUCH_FIELDS = 12;
const AFFINE_FILTER = { bilinear: 1, bicubic: 2 } as const;

/** Where a picture lies in the memory that the addon works on. */
export interface Place {
  /** in bytes */
  offset: number;
  width: number;
  height: number;
}

/** Carries out `steps` in order on the picture at `place`. */
export function retouch(pixels: Uint8Array, place: Place, steps: readonly RetouchStep[]): void {
  if (steps.length === 0) return;
  const jobs = new Float64Array(steps.length * RETOUCH_FIELDS);
  for (const [i, step] of steps.entries()) {
    const at = i * RETOUCH_FIELDS;
    jobs[at] = place.offset;
    jobs[at + 1] = place.width;
    jobs[at + 2] = place.height;
    const [kind, ...numbers] = numbersOf(step, place);
    jobs[at + 3] = kind;
    jobs.set(numbers, at + 4);
  }
  nativeImage.imageRetouch(pixels, jobs);
}

/** A copy of the picture after `steps`. */
export function retouched(picture: Picture, steps: readonly RetouchStep[]): Picture {
  const data = picture.data.slice();
  retouch(data, { offset: 0, width: picture.width, height: picture.height }, steps);
  return { ...picture, data };
}

function numbersOf(step: RetouchStep, { width, height }: Place): number[] {
  switch (step.op) {
    case 'posterize':
      return [STEP.posterize, step.bits];
    case 'solarize':
      return [STEP.solarize, step.threshold];
    case 'solarizeAdd':
      return [STEP.solarizeAdd, step.add, step.threshold];
    case 'color':
    case 'contrast':
    case 'brightness':
    case 'sharpness':
      return [STEP[step.op], step.factor];
    case 'shearX':
      return affine([1, step.by, 0, 0, 1, 0], step);
    case 'shearY':
      return affine([1, 0, 0, step.by, 1, 0], step);
    case 'translateX':
      return affine([1, 0, step.by, 0, 1, 0], step);
    case 'translateY':
      return affine([1, 0, 0, 0, 1, step.by], step);
    case 'rotate':
      return affine(rotation(step.by, width, height), step);
    default:
      return [STEP[step.op]];
  }
}

function affine(matrix: readonly number[], { filter, fill }: Lookup): number[] {
  const [red, green, blue] = fill;
  return [STEP.affine, ...matrix, AFFINE_FILTER[filter], (red << 16) | (green << 8) | blue];
}

/** From output to input, about the middle of the picture; sines and cosines are cut to 15 decimals, as in Pillow. */
function rotation(degrees: number, width: number, height: number): number[] {
  const angle = -((((degrees % 360) + 360) % 360) * (Math.PI / 180));
  const cut = (value: number) => Number(value.toFixed(15));
  const [cos, sin, minusSin] = [cut(Math.cos(angle)), cut(Math.sin(angle)), cut(-Math.sin(angle))];
  const [x, y] = [width / 2, height / 2];
  return [cos, sin, cos * -x + sin * -y + x, minusSin, cos, minusSin * -x + cos * -y + y];
}
