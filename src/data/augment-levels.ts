/** The named steps of automatic augmentation, and what a magnitude of 0..10 means for each. */

import type { RandomStream } from './random.js';
import type { AffineFilter, Colour, RetouchStep } from './retouch.js';

/** The end of the scale of magnitudes. */
export const MAX_MAGNITUDE = 10;

/** What the steps need to know beside the magnitude. */
export interface StepSettings {
  /** for pixels that come from outside */
  fill: Colour;
  /** one is drawn for each geometric step */
  filters: readonly AffineFilter[];
  /** greatest shift of TranslateX and TranslateY, in pixels */
  translateConst: number;
  /** greatest shift of TranslateXRel and TranslateYRel, as a share of the side */
  translatePct: number;
}

/** A step before chance has settled its sign and filter. */
interface NamedStep {
  /** the argument at a magnitude; `null`: the step has none */
  level: ((magnitude: number, settings: StepSettings) => number) | null;
  /** whether it is negated in half of the cases */
  isSigned?: true;
  /** added after the sign is settled */
  base?: number;
  step: (argument: number, lookup: { filter: AffineFilter; fill: Colour }, side: Side) => RetouchStep;
}

interface Side {
  width: number;
  height: number;
}

/** Values from this level down are brightened by SolarizeAdd. */
const SOLARIZE_ADD_THRESHOLD = 128;

const share = (magnitude: number) => magnitude / MAX_MAGNITUDE;
const posterizeBits = (magnitude: number) => Math.trunc(share(magnitude) * 4);
const solarizeFrom = (magnitude: number) => Math.trunc(share(magnitude) * 256);

function plain(op: 'autoContrast' | 'equalize' | 'invert'): NamedStep {
  return { level: null, step: () => ({ op }) };
}

function posterize(level: (magnitude: number) => number): NamedStep {
  return { level, step: (bits) => ({ op: 'posterize', bits }) };
}

function solarize(level: (magnitude: number) => number): NamedStep {
  return { level, step: (threshold) => ({ op: 'solarize', threshold }) };
}

type Enhancement = 'color' | 'contrast' | 'brightness' | 'sharpness';

/** 0.1 to 1.9: no change in the middle of the scale. */
function enhance(op: Enhancement): NamedStep {
  return { level: (magnitude) => share(magnitude) * 1.8 + 0.1, step: (factor) => ({ op, factor }) };
}

/** No change at 0, up to 0.9 more or less at the end of the scale. */
function enhanceMore(op: Enhancement): NamedStep {
  return {
    level: (magnitude) => share(magnitude) * 0.9,
    isSigned: true,
    base: 1,
    step: (factor) => ({ op, factor }),
  };
}

function shear(op: 'shearX' | 'shearY'): NamedStep {
  return {
    level: (magnitude) => share(magnitude) * 0.3,
    isSigned: true,
    step: (by, lookup) => ({ op, by, ...lookup }),
  };
}

function translate(op: 'translateX' | 'translateY'): NamedStep {
  return {
    level: (magnitude, { translateConst }) => share(magnitude) * translateConst,
    isSigned: true,
    step: (by, lookup) => ({ op, by, ...lookup }),
  };
}

function translateRelative(op: 'translateX' | 'translateY'): NamedStep {
  return {
    level: (magnitude, { translatePct }) => share(magnitude) * translatePct,
    isSigned: true,
    step: (pct, lookup, side) => ({
      op,
      by: pct * (op === 'translateX' ? side.width : side.height),
      ...lookup,
    }),
  };
}

/** `…Increasing` grows stronger with the magnitude, where the plain form of the step does not. */
const STEPS = {
  AutoContrast: plain('autoContrast'),
  Equalize: plain('equalize'),
  Invert: plain('invert'),
  Rotate: {
    level: (magnitude) => share(magnitude) * 30,
    isSigned: true,
    step: (by, lookup) => ({ op: 'rotate', by, ...lookup }),
  },
  Posterize: posterize(posterizeBits),
  PosterizeIncreasing: posterize((magnitude) => 4 - posterizeBits(magnitude)),
  PosterizeOriginal: posterize((magnitude) => posterizeBits(magnitude) + 4),
  Solarize: solarize(solarizeFrom),
  SolarizeIncreasing: solarize((magnitude) => 256 - solarizeFrom(magnitude)),
  SolarizeAdd: {
    level: (magnitude) => Math.trunc(share(magnitude) * 110),
    step: (add) => ({ op: 'solarizeAdd', add, threshold: SOLARIZE_ADD_THRESHOLD }),
  },
  Color: enhance('color'),
  ColorIncreasing: enhanceMore('color'),
  Contrast: enhance('contrast'),
  ContrastIncreasing: enhanceMore('contrast'),
  Brightness: enhance('brightness'),
  BrightnessIncreasing: enhanceMore('brightness'),
  Sharpness: enhance('sharpness'),
  SharpnessIncreasing: enhanceMore('sharpness'),
  ShearX: shear('shearX'),
  ShearY: shear('shearY'),
  TranslateX: translate('translateX'),
  TranslateY: translate('translateY'),
  TranslateXRel: translateRelative('translateX'),
  TranslateYRel: translateRelative('translateY'),
} satisfies Record<string, NamedStep>;

export type StepName = keyof typeof STEPS;

export function isStepName(name: string): name is StepName {
  return Object.hasOwn(STEPS, name);
}

/** The one or two arguments that a step may have at a magnitude; none where it takes none. */
export function levelArguments(name: StepName, magnitude: number, settings: StepSettings): number[] {
  const { level, isSigned, base = 0 }: NamedStep = STEPS[name];
  if (level === null) return [];
  const argument = level(magnitude, settings);
  return isSigned === true ? [base + argument, base - argument] : [base + argument];
}

/** The step at a magnitude, for a picture of this size; sign and filter are drawn. */
export function drawStep(
  random: RandomStream,
  name: StepName,
  magnitude: number,
  settings: StepSettings,
  side: Side,
): RetouchStep {
  const choices = levelArguments(name, magnitude, settings);
  const argument = choices.length > 1 && random.chance(0.5) ? choices[1] : (choices[0] ?? 0);
  const { filters, fill } = settings;
  const filter = filters.length > 1 ? filters[random.integer(filters.length)] : filters[0];
  return (STEPS[name] as NamedStep).step(argument, { filter, fill }, side);
}
