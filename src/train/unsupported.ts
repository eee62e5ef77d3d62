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
  {
    asked: ({ dist_url }) => dist_url !== 'env://',
    flag: ({ dist_url }) => `--dist_url ${dist_url}`,
    instead: 'Set MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE in the environment.',
  },
];

/** Throws `UserError('usage')` for the first thing asked for that is not supported yet, or impossible. */
export function refuseUnsupported(options: TrainOptions): void {
  const missing = MISSING.find(({ asked }) => asked(options));
  if (missing !== undefined)
    throw new UserError('usage', `${missing.flag(options)} is not supported yet. ${missing.instead}`);
  if (options.use_mixup && (options.contrast_weight ?? 0) > 0)
    throw new UserError(
      'usage',
      '--contrast_weight tells pictures apart, and --use_mixup True mixes them; give one of the two.',
    );
  const [low, high] = options.cutmix_minmax ?? [0, 1];
  if (!(low >= 0 && low <= high && high <= 1))
    throw new UserError(
      'usage',
      `--cutmix_minmax expected two shares of the side, 0 <= low <= high <= 1, but received ${low} ${high}.`,
    );
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
const COLOUR_FLAGS = ['blur_radius', 'hue_jitter', 'gray_probability', 'invert_probability'] as const;
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
  else if (mixesNothing(options))
    notes.push(
      '--use_mixup True mixes nothing: --mixup and --cutmix are 0, or --mixup_prob or --num_mixup_views.',
    );
  return notes;
}

function mixesNothing({ mixup, cutmix, cutmix_minmax, mixup_prob, num_mixup_views }: TrainOptions): boolean {
  const hasRatio = mixup > 0 || cutmix > 0 || cutmix_minmax !== undefined;
  return !hasRatio || mixup_prob === 0 || num_mixup_views === 0;
}
