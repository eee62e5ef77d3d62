/** Which crops are made of a picture, and how they are changed: the settings of a multi-crop augmentation. */

import { UserError } from '../errors.js';
import type { AutoAugment } from './augment-strings.js';
import type { ErasePolicy } from './erase-draws.js';

export type Range = readonly [low: number, high: number];

/** Crops of one resolution; they form one batch tensor. */
export interface CropGroup {
  /** side in pixels */
  size: number;
  /** crops of this group that each picture gives */
  views: number;
  /** share of the picture's area */
  scale: Range;
  /** [views] probability of a Gaussian blur */
  blur: readonly number[];
  /** [views] probability of solarisation */
  solarize: readonly number[];
  role: 'global' | 'local';
}

/** Colour changes that all crops share; factors are drawn uniformly. */
export interface PhotometricPolicy {
  /** probability that the four steps of the jitter are applied, in random order */
  jitter: number;
  brightness: Range;
  contrast: Range;
  saturation: Range;
  /** in turns */
  hue: Range;
  gray: number;
  /** probability that all pixels are inverted, in place of solarisation */
  invert: number;
  /** radius of the blur in pixels */
  blurRadius: Range;
}

/** How a box is resized to a crop. */
export type CropFilter = 'bilinear' | 'bicubic';

export interface CropPlan {
  groups: readonly CropGroup[];
  /** width : height of a box, drawn uniformly in its logarithm */
  ratio: Range;
  /** probability of a mirrored crop */
  flip: number;
  photometric: PhotometricPolicy;
  /** one is drawn for each crop, and for each geometric step of `autoAugment`; default bicubic */
  filters?: readonly CropFilter[];
  /** steps on the finished crop, before its colours change */
  autoAugment?: AutoAugment;
  /** after normalisation */
  erasing?: ErasePolicy;
  /** the first view of each picture stays whole */
  sparesFirstView?: boolean;
}

/** One centre crop a picture: the shorter side is resized to `resize`, then `size` x `size` pixels are kept. */
export interface EvaluationPlan {
  resize: number;
  size: number;
}

/** The colour changes of DINO, which EsViT uses. */
export const DINO_PHOTOMETRIC: PhotometricPolicy = {
  jitter: 0.8,
  brightness: [0.6, 1.4],
  contrast: [0.6, 1.4],
  saturation: [0.8, 1.2],
  hue: [-0.1, 0.1],
  gray: 0.2,
  invert: 0,
  blurRadius: [0.1, 2],
};

/** One crop a picture of random place and size, mirrored half of the time, in its own colours: torchvision's default. */
export function classifierPlan(size: number): CropPlan {
  return {
    groups: [{ size, views: 1, scale: [0.08, 1], blur: [0], solarize: [0], role: 'global' }],
    ratio: [3 / 4, 4 / 3],
    flip: 0.5,
    photometric: { ...DINO_PHOTOMETRIC, jitter: 0, gray: 0 },
    filters: ['bilinear'],
  };
}

export interface DinoPlanOptions {
  globalSize?: number;
  globalScale?: Range;
  /** one entry a local resolution */
  localSizes?: readonly number[];
  localCounts?: readonly number[];
  localScale?: Range;
  /** of the blur's radius in pixels, default 0.1 to 2 */
  blurRadius?: Range;
  /** greatest turn of the hues, default 0.1 */
  hue?: number;
  /** probability of a crop without colours, default 0.2 */
  gray?: number;
  /** probability of an inverted crop, default 0 */
  invert?: number;
}

/** Two global crops (blur 1.0 / 0.1, solarise 0 / 0.2) and local crops of one or more sizes (blur 0.5). */
export function dinoPlan(options: DinoPlanOptions = {}): CropPlan {
  const { globalSize = 224, globalScale = [0.4, 1], localScale = [0.05, 0.4] } = options;
  const { localSizes = [96], localCounts = [8] } = options;
  if (localSizes.length !== localCounts.length)
    throw new UserError(
      'config',
      `expected one number of local crops for each of the ${localSizes.length} local crop sizes, received ` +
        `${localCounts.length} (local_crops_number and local_crops_size must be equally long).`,
    );
  const groups: CropGroup[] = [
    { size: globalSize, views: 2, scale: globalScale, blur: [1, 0.1], solarize: [0, 0.2], role: 'global' },
  ];
  localSizes.forEach((size, i) => {
    const views = localCounts[i];
    if (views === 0) return;
    const each = (p: number) => Array<number>(views).fill(p);
    groups.push({ size, views, scale: localScale, blur: each(0.5), solarize: each(0), role: 'local' });
  });
  const { blurRadius = DINO_PHOTOMETRIC.blurRadius, gray = DINO_PHOTOMETRIC.gray } = options;
  const { hue = DINO_PHOTOMETRIC.hue[1], invert = DINO_PHOTOMETRIC.invert } = options;
  const photometric = { ...DINO_PHOTOMETRIC, blurRadius, gray, invert, hue: [-hue, hue] as const };
  const plan: CropPlan = { groups, ratio: [3 / 4, 4 / 3], flip: 0.5, photometric };
  checkPlan(plan);
  return plan;
}

/** Refuses settings that no crop can have. */
export function checkPlan(plan: CropPlan): void {
  for (const { size, views, scale, role } of plan.groups) {
    if (!Number.isInteger(size) || size < 1 || size > 4096)
      throw new UserError(
        'config',
        `a ${role} crop size must be a whole number of 1..4096 pixels, received ${size}.`,
      );
    if (!Number.isInteger(views) || views < 1)
      throw new UserError('config', `the number of ${role} crops must be a whole number, received ${views}.`);
    if (!(scale[0] > 0 && scale[0] <= scale[1] && scale[1] <= 1))
      throw new UserError(
        'config',
        `the scale of ${role} crops must be two shares of the area, 0 < low <= high <= 1, received ${scale.join(' ')}.`,
      );
  }
}
