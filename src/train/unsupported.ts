/** Flags of the original whose function is not there yet: refused by name, never ignored. */

import { parseAutoAugment } from '../data/index.js';
import { UserError } from '../errors.js';
import type { TrainOptions } from './options.js';

interface Missing {
  /** Whether the options ask for it. */
  readonly asked: (options: TrainOptions) => boolean;
  readonly flag: (options: TrainOptions) => string;
  readonly instead: string;
}

const MISSING: readonly Missing[] = [
  { asked: ({ use_mixup }) => use_mixup, flag: () => '--use_mixup True', instead: 'Leave it out.' },
  {
    asked: ({ dist_url }) => dist_url !== 'env://',
    flag: ({ dist_url }) => `--dist_url ${dist_url}`,
    instead: 'Set MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE in the environment.',
  },
];

/** Throws `UserError('usage')` for the first thing asked for that is not supported yet. */
export function refuseUnsupported(options: TrainOptions): void {
  const missing = MISSING.find(({ asked }) => asked(options));
  if (missing !== undefined)
    throw new UserError('usage', `${missing.flag(options)} is not supported yet. ${missing.instead}`);
}

const DEIT_FLAGS = [
  'color_jitter',
  'aa',
  'train_interpolation',
  'reprob',
  'remode',
  'recount',
  'resplit',
] as const;
const COLOUR_FLAGS = ['blur_radius', 'hue_jitter', 'gray_probability'] as const;
const MIXUP_FLAGS = [
  'num_mixup_views',
  'mixup',
  'cutmix',
  'cutmix_minmax',
  'mixup_prob',
  'mixup_switch_prob',
  'mixup_mode',
  'smoothing',
] as const;

/** Sentences about flags that were given but have no effect beside the others, as in the original. */
export function flagsWithoutEffect(options: TrainOptions, given: ReadonlySet<string>): string[] {
  const notes: string[] = [];
  const idle = (names: readonly string[], why: string) => {
    for (const name of names) if (given.has(name)) notes.push(`--${name} has no effect ${why}.`);
  };
  const policy = options.aug_opt;
  if (policy === 'deit_aug' || policy === 'basic_aug') idle(COLOUR_FLAGS, `with --aug_opt ${policy}`);
  if (policy !== 'deit_aug') idle(DEIT_FLAGS, `with --aug_opt ${policy}`);
  else if (parseAutoAugment(options.aa) !== undefined) idle(['color_jitter'], 'unless --aa is none');
  if (!options.use_mixup) idle(MIXUP_FLAGS, 'without --use_mixup True');
  return notes;
}
