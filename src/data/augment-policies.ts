/** Lists of named steps: RandAugment's, AugMix's, and the searched policies of AutoAugment. */

import type { StepName } from './augment-levels.js';

/** A step with its probability and its magnitude. */
export type PolicyStep = readonly [name: StepName, probability: number, magnitude: number];

/** Two steps, one after the other. */
export type SubPolicy = readonly [PolicyStep, PolicyStep];

const AT_ALL_LEVELS = ['AutoContrast', 'Equalize', 'Invert', 'Rotate'] as const;
const GEOMETRY = ['ShearX', 'ShearY', 'TranslateXRel', 'TranslateYRel'] as const;

/** RandAugment (Cubuk et al. 2020, arXiv 1909.13719), with SolarizeAdd and without Cutout. */
export const RAND_STEPS: readonly StepName[] = [
  ...AT_ALL_LEVELS,
  'Posterize',
  'Solarize',
  'SolarizeAdd',
  'Color',
  'Contrast',
  'Brightness',
  'Sharpness',
  ...GEOMETRY,
];

/** The same with forms that grow stronger with the magnitude. */
export const RAND_STEPS_INCREASING: readonly StepName[] = [
  ...AT_ALL_LEVELS,
  'PosterizeIncreasing',
  'SolarizeIncreasing',
  'SolarizeAdd',
  'ColorIncreasing',
  'ContrastIncreasing',
  'BrightnessIncreasing',
  'SharpnessIncreasing',
  ...GEOMETRY,
];

/** Weights of the steps under `w0`, in the order of both lists above. */
export const RAND_WEIGHTS: readonly number[] = [
  0.025, 0.005, 0, 0.3, 0, 0.005, 0.005, 0.025, 0.005, 0.005, 0.025, 0.2, 0.2, 0.1, 0.1,
];

/** AugMix (Hendrycks et al. 2020, arXiv 1912.02781), with four colour steps that the paper leaves out. */
export const MIX_STEPS: readonly StepName[] = [
  'AutoContrast',
  'ColorIncreasing',
  'ContrastIncreasing',
  'BrightnessIncreasing',
  'SharpnessIncreasing',
  'Equalize',
  'Rotate',
  'PosterizeIncreasing',
  'SolarizeIncreasing',
  ...GEOMETRY,
];

/** `v0`: the policy that EfficientNet was trained with; `posterize` is the form that it uses. */
function v0(posterize: StepName): SubPolicy[] {
  return [
    [
      ['Equalize', 0.8, 1],
      ['ShearY', 0.8, 4],
    ],
    [
      ['Color', 0.4, 9],
      ['Equalize', 0.6, 3],
    ],
    [
      ['Color', 0.4, 1],
      ['Rotate', 0.6, 8],
    ],
    [
      ['Solarize', 0.8, 3],
      ['Equalize', 0.4, 7],
    ],
    [
      ['Solarize', 0.4, 2],
      ['Solarize', 0.6, 2],
    ],
    [
      ['Color', 0.2, 0],
      ['Equalize', 0.8, 8],
    ],
    [
      ['Equalize', 0.4, 8],
      ['SolarizeAdd', 0.8, 3],
    ],
    [
      ['ShearX', 0.2, 9],
      ['Rotate', 0.6, 8],
    ],
    [
      ['Color', 0.6, 1],
      ['Equalize', 1, 2],
    ],
    [
      ['Invert', 0.4, 9],
      ['Rotate', 0.6, 0],
    ],
    [
      ['Equalize', 1, 9],
      ['ShearY', 0.6, 3],
    ],
    [
      ['Color', 0.4, 7],
      ['Equalize', 0.6, 0],
    ],
    [
      [posterize, 0.4, 6],
      ['AutoContrast', 0.4, 7],
    ],
    [
      ['Solarize', 0.6, 8],
      ['Color', 0.6, 9],
    ],
    [
      ['Solarize', 0.2, 4],
      ['Rotate', 0.8, 9],
    ],
    [
      ['Rotate', 1, 7],
      ['TranslateYRel', 0.8, 9],
    ],
    [
      ['ShearX', 0, 0],
      ['Solarize', 0.8, 4],
    ],
    [
      ['ShearY', 0.8, 0],
      ['Color', 0.6, 4],
    ],
    [
      ['Color', 1, 0],
      ['Rotate', 0.6, 2],
    ],
    [
      ['Equalize', 0.8, 4],
      ['Equalize', 0, 8],
    ],
    [
      ['Equalize', 1, 4],
      ['AutoContrast', 0.6, 2],
    ],
    [
      ['ShearY', 0.4, 7],
      ['SolarizeAdd', 0.6, 7],
    ],
    [
      [posterize, 0.8, 2],
      ['Solarize', 0.6, 10],
    ],
    [
      ['Solarize', 0.6, 8],
      ['Equalize', 0.6, 1],
    ],
    [
      ['Color', 0.8, 6],
      ['Rotate', 0.4, 5],
    ],
  ];
}

/** `original`: the policy of the paper (Cubuk et al. 2019, arXiv 1805.09501, table 9). */
function original(posterize: StepName): SubPolicy[] {
  return [
    [
      [posterize, 0.4, 8],
      ['Rotate', 0.6, 9],
    ],
    [
      ['Solarize', 0.6, 5],
      ['AutoContrast', 0.6, 5],
    ],
    [
      ['Equalize', 0.8, 8],
      ['Equalize', 0.6, 3],
    ],
    [
      [posterize, 0.6, 7],
      [posterize, 0.6, 6],
    ],
    [
      ['Equalize', 0.4, 7],
      ['Solarize', 0.2, 4],
    ],
    [
      ['Equalize', 0.4, 4],
      ['Rotate', 0.8, 8],
    ],
    [
      ['Solarize', 0.6, 3],
      ['Equalize', 0.6, 7],
    ],
    [
      [posterize, 0.8, 5],
      ['Equalize', 1, 2],
    ],
    [
      ['Rotate', 0.2, 3],
      ['Solarize', 0.6, 8],
    ],
    [
      ['Equalize', 0.6, 8],
      [posterize, 0.4, 6],
    ],
    [
      ['Rotate', 0.8, 8],
      ['Color', 0.4, 0],
    ],
    [
      ['Rotate', 0.4, 9],
      ['Equalize', 0.6, 2],
    ],
    [
      ['Equalize', 0, 7],
      ['Equalize', 0.8, 8],
    ],
    [
      ['Invert', 0.6, 4],
      ['Equalize', 1, 8],
    ],
    [
      ['Color', 0.6, 4],
      ['Contrast', 1, 8],
    ],
    [
      ['Rotate', 0.8, 8],
      ['Color', 1, 2],
    ],
    [
      ['Color', 0.8, 8],
      ['Solarize', 0.8, 7],
    ],
    [
      ['Sharpness', 0.4, 7],
      ['Invert', 0.6, 8],
    ],
    [
      ['ShearX', 0.6, 5],
      ['Equalize', 1, 9],
    ],
    [
      ['Color', 0.4, 0],
      ['Equalize', 0.6, 3],
    ],
    [
      ['Equalize', 0.4, 7],
      ['Solarize', 0.2, 4],
    ],
    [
      ['Solarize', 0.6, 5],
      ['AutoContrast', 0.6, 5],
    ],
    [
      ['Invert', 0.6, 4],
      ['Equalize', 1, 8],
    ],
    [
      ['Color', 0.6, 4],
      ['Contrast', 1, 8],
    ],
    [
      ['Equalize', 0.8, 8],
      ['Equalize', 0.6, 3],
    ],
  ];
}

/** By name; those that end in r posterise more at higher magnitudes. */
export const POLICIES: Readonly<Record<string, readonly SubPolicy[]>> = {
  v0: v0('Posterize'),
  v0r: v0('PosterizeIncreasing'),
  original: original('PosterizeOriginal'),
  originalr: original('PosterizeIncreasing'),
};
