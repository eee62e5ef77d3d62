/** The four augmentation policies by name: `dino_aug`, `deit_aug`, `mocov2_aug`, `basic_aug`. */

import type { StepSettings } from './augment-levels.js';
import { parseAutoAugment } from './augment-strings.js';
import {
  type CropFilter,
  type CropPlan,
  DINO_PHOTOMETRIC,
  type DinoPlanOptions,
  dinoPlan,
  type PhotometricPolicy,
} from './crop-plan.js';
import type { ErasePolicy } from './erase-draws.js';
import type { Colour } from './retouch.js';

export type PolicyName = 'dino_aug' | 'deit_aug' | 'mocov2_aug' | 'basic_aug';

export interface PolicyOptions extends DinoPlanOptions {
  /** deit_aug: a string such as `rand-m9-mstd0.5-inc1`, or 'none' */
  autoAugment?: string;
  /** deit_aug without automatic augmentation: brightness, contrast and saturation change by up to this share */
  colorJitter?: number;
  /** deit_aug: `random` draws a filter for each crop */
  interpolation?: 'random' | CropFilter;
  /** deit_aug */
  erasing?: ErasePolicy;
  /** deit_aug: nothing is erased from the first view of each picture */
  sparesFirstView?: boolean;
}

const NO_COLOURS: PhotometricPolicy = {
  jitter: 0,
  brightness: [1, 1],
  contrast: [1, 1],
  saturation: [1, 1],
  hue: [0, 0],
  gray: 0,
  invert: 0,
  blurRadius: DINO_PHOTOMETRIC.blurRadius,
};

/** Two global crops and local crops of one or more sizes, under the policy of this name. */
export function policyPlan(name: PolicyName, options: PolicyOptions = {}): CropPlan {
  const plan = dinoPlan(options);
  switch (name) {
    case 'dino_aug':
      return plan;
    case 'mocov2_aug':
      // MoCo v2 (Chen et al. 2020, arXiv 2003.04297): one recipe for all views.
      return { ...withChances(plan, 0.5), photometric: { ...plan.photometric, saturation: [0.6, 1.4] } };
    case 'basic_aug':
      return { ...withChances(plan, 0), photometric: NO_COLOURS };
    case 'deit_aug':
      return deit(plan, options);
  }
}

/** The same crops with one probability of a blur for all, and without solarisation. */
function withChances(plan: CropPlan, blur: number): CropPlan {
  const groups = plan.groups.map((group) => ({
    ...group,
    blur: group.blur.map(() => blur),
    solarize: group.solarize.map(() => 0),
  }));
  return { ...plan, groups };
}

/** DeiT (Touvron et al. 2021, arXiv 2012.12877): colours change by automatic augmentation, or else by jitter. */
function deit(plan: CropPlan, options: PolicyOptions): CropPlan {
  const { autoAugment = 'rand-m9-mstd0.5-inc1', colorJitter = 0.4, interpolation = 'bicubic' } = options;
  const augment = parseAutoAugment(autoAugment);
  const range = [Math.max(0, 1 - colorJitter), 1 + colorJitter] as const;
  const jitters = augment === undefined && colorJitter > 0;
  return {
    ...withChances(plan, 0),
    photometric: jitters
      ? { ...NO_COLOURS, jitter: 1, brightness: range, contrast: range, saturation: range }
      : NO_COLOURS,
    filters: interpolation === 'random' ? ['bilinear', 'bicubic'] : [interpolation],
    ...(augment && { autoAugment: augment }),
    ...(options.erasing && options.erasing.probability > 0 && { erasing: options.erasing }),
    ...(options.sparesFirstView && { sparesFirstView: true }),
  };
}

/** The mean colour of ImageNet in bytes; after normalisation it is about zero. */
const MEAN_COLOUR: Colour = [124, 116, 104];

/** Shifts reach this share of the side; in AugMix less. */
const TRANSLATE = { const: 0.45, relative: 0.45, mix: 0.3 };

/** What automatic augmentation needs to know for crops of `size` pixels. */
export function stepSettings({ filters = ['bicubic'], autoAugment }: CropPlan, size: number): StepSettings {
  return {
    fill: MEAN_COLOUR,
    filters,
    translateConst: Math.trunc(size * TRANSLATE.const),
    translatePct: autoAugment?.kind === 'mix' ? TRANSLATE.mix : TRANSLATE.relative,
  };
}
