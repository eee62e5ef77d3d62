/** The steps of RandAugment under the names of golden cases, and what magnitudes mean for them. */

import { z } from 'zod';
import {
  type Colour,
  isStepName,
  levelArguments,
  type Picture,
  type RetouchStep,
  retouched,
  type StepSettings,
} from '../data/index.js';
import { type Check, failed, type GoldenCase } from './case.js';

const configSchema = z.looseObject({
  fillcolor: z.tuple([z.number(), z.number(), z.number()]).default([128, 128, 128]),
  resample: z.enum(['bilinear', 'bicubic']).default('bicubic'),
  solarize_add_thresh: z.number().default(128),
  translate_const: z.number().default(250),
  translate_pct: z.number().default(0.45),
});

type Config = z.output<typeof configSchema>;

/** The step with its arguments in order; `config` fills in what they leave out. */
type Form = (args: readonly number[], config: Config, picture: Picture) => RetouchStep;

function lookup({ resample, fillcolor }: Config): { filter: 'bilinear' | 'bicubic'; fill: Colour } {
  return { filter: resample, fill: fillcolor };
}

const factor =
  (op: 'color' | 'contrast' | 'brightness' | 'sharpness'): Form =>
  ([value]) => ({ op, factor: value });

const moved =
  (op: 'shearX' | 'shearY' | 'translateX' | 'translateY' | 'rotate', unit?: 'width' | 'height'): Form =>
  ([value], config, picture) => ({
    op,
    by: unit === undefined ? value : value * picture[unit],
    ...lookup(config),
  });

const FORMS: Readonly<Record<string, Form>> = {
  auto_contrast: () => ({ op: 'autoContrast' }),
  equalize: () => ({ op: 'equalize' }),
  invert: () => ({ op: 'invert' }),
  posterize: ([bits]) => ({ op: 'posterize', bits: Math.min(8, bits) }),
  solarize: ([threshold = 128]) => ({ op: 'solarize', threshold }),
  solarize_add: ([add, threshold], config) => ({
    op: 'solarizeAdd',
    add,
    threshold: threshold ?? config.solarize_add_thresh,
  }),
  color: factor('color'),
  contrast: factor('contrast'),
  brightness: factor('brightness'),
  sharpness: factor('sharpness'),
  rotate: moved('rotate'),
  shear_x: moved('shearX'),
  shear_y: moved('shearY'),
  translate_x_abs: moved('translateX'),
  translate_y_abs: moved('translateY'),
  translate_x_rel: moved('translateX', 'width'),
  translate_y_rel: moved('translateY', 'height'),
};

/** Names of arguments beyond those of the other steps, in order. */
export const RETOUCH_ARGUMENTS: readonly string[] = ['degrees', 'bits_to_keep', 'pct', 'pixels', 'add'];

/** The picture after the step that a golden case calls `op`; undefined where there is none of that name. */
export function retouchedAs(
  op: string,
  args: readonly number[],
  picture: Picture,
  golden: GoldenCase,
): Picture | undefined {
  if (!Object.hasOwn(FORMS, op)) return undefined;
  return retouched(picture, [FORMS[op](args, configSchema.parse(golden.config ?? {}), picture)]);
}

export function isRetouch(op: string): boolean {
  return Object.hasOwn(FORMS, op);
}

const levelsSchema = z.record(z.string(), z.record(z.string(), z.array(z.number())).nullable());

/** The arguments of every step at every magnitude that the case lists under `level_to_arg`. */
export function* checkLevels(golden: GoldenCase): Generator<Check> {
  if (golden.level_to_arg === undefined) return;
  const config = configSchema.parse(golden.config ?? {});
  const settings: StepSettings = {
    fill: config.fillcolor,
    filters: [config.resample],
    translateConst: config.translate_const,
    translatePct: config.translate_pct,
  };
  for (const [name, levels] of Object.entries(levelsSchema.parse(golden.level_to_arg))) {
    if (!isStepName(name)) {
      yield failed(`level_to_arg ${name}`, `there is no step '${name}'`);
      continue;
    }
    for (const [magnitude, expected] of Object.entries(levels ?? { 0: [] })) {
      const mine = [...new Set(levelArguments(name, Number(magnitude), settings))];
      const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b);
      const reference = sorted([...new Set(expected)]);
      const worst =
        mine.length === reference.length
          ? Math.max(0, ...sorted(mine).map((value, i) => Math.abs(value - reference[i])))
          : Number.POSITIVE_INFINITY;
      yield { name: `${name} at ${magnitude}`, worst, tolerance: 1e-12, ok: worst <= 1e-12 };
    }
  }
}
