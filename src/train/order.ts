/** The order of the pictures that the flags ask for. */

import type { DeepReadonly } from '../config/index.js';
import { createSampler, type ImageSource, type Sampler, type SamplerOptions } from '../data/index.js';
import { UserError } from '../errors.js';
import type { TrainOptions } from './options.js';

type OrderFlags = DeepReadonly<
  Pick<TrainOptions, 'sampler' | 'repeats' | 'samples_per_class' | 'target_size' | 'seed'>
>;

/** `ranks`: the place of this process; alone if left out. */
export function samplerFor(
  flags: OrderFlags,
  source: ImageSource,
  ranks: Pick<SamplerOptions, 'rank' | 'world' | 'ranksPerNode'> = {},
): Sampler {
  return createSampler(flags.sampler, source, {
    seed: flags.seed,
    repeats: flags.repeats,
    samplesPerClass: samplesPerClass(flags.samples_per_class),
    targetSize: flags.target_size,
    ...ranks,
  });
}

function samplesPerClass(text: string): number | 'average' | 'median' {
  if (text === 'average' || text === 'median') return text;
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw new UserError(
    'usage',
    `--samples_per_class: expected a whole number from 1 on, 'average' or 'median', but received '${text}'.`,
  );
}
