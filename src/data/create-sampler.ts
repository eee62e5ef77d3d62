/** The samplers by their names. */

import { UserError } from '../errors.js';
import { chunkOrder, chunkShare } from './chunk-sampler.js';
import {
  classAwareOrder,
  classTargetOrder,
  classTargetSize,
  picturesByClass,
  picturesPerClass,
} from './class-sampler.js';
import { repeatedOrder, repeatedShare } from './repeated-sampler.js';
import { counting, deal, epochShuffle, type Sampler } from './sampler.js';
import type { ImageSource } from './source.js';

export const SAMPLERS = ['distributed', 'chunk', 'repeated', 'class_aware', 'class_target'] as const;
export type SamplerName = (typeof SAMPLERS)[number];

export interface SamplerOptions {
  seed: number;
  /** default 0 of 1 */
  rank?: number;
  world?: number;
  /** ranks of a machine, for 'chunk'; default all */
  ranksPerNode?: number;
  /** default true; false: in the order of the data set, for 'distributed' */
  shuffle?: boolean;
  /** for 'repeated', default 3 */
  repeats?: number;
  /** for 'class_aware', default 'average' */
  samplesPerClass?: number | 'average' | 'median';
  /** for 'class_target': pictures of an epoch, default 0: all */
  targetSize?: number;
}

/** The order of every epoch follows from the seed, the epoch and the place among the ranks alone. */
export function createSampler(name: SamplerName, source: ImageSource, options: SamplerOptions): Sampler {
  const { seed, rank = 0, world = 1, ranksPerNode = world, shuffle: isShuffled = true } = options;
  const ranks = { rank, world };
  const n = source.length;
  const shuffle = (epoch: number) => epochShuffle(seed, epoch);
  switch (name) {
    case 'distributed':
      return {
        length: Math.ceil(n / world),
        order: (epoch) => {
          const order = counting(n);
          if (isShuffled) shuffle(epoch)(order);
          return { indices: deal(order, ranks) };
        },
      };
    case 'chunk': {
      const chunks = source.chunks.filter((size) => size > 0);
      const own = { ...ranks, ranksPerNode };
      return {
        length: chunkShare(chunks, own),
        order: (epoch) => ({ indices: chunkOrder(chunks, epoch, own, shuffle(epoch)) }),
      };
    }
    case 'repeated': {
      const { repeats = 3 } = options;
      return {
        length: repeatedShare(n, world),
        order: (epoch) => repeatedOrder(n, repeats, ranks, shuffle(epoch)),
      };
    }
    case 'class_aware': {
      const classes = classesOf(source, name);
      const perClass = picturesPerClass(classes, options.samplesPerClass ?? 'average');
      return {
        length: Math.ceil((classes.length * perClass) / world),
        order: (epoch) => classAwareOrder(classes, perClass, ranks, shuffle(epoch)),
      };
    }
    case 'class_target': {
      const classes = classesOf(source, name);
      const { targetSize = 0 } = options;
      return {
        length: Math.ceil(classTargetSize(classes, targetSize) / world),
        order: (epoch) => ({
          indices: classTargetOrder(classes, targetSize, ranks, shuffle(0), shuffle(epoch)),
        }),
      };
    }
  }
}

function classesOf(source: ImageSource, name: SamplerName): Uint32Array[] {
  if (source.labelKind === 'single' && source.classes.length > 0) {
    const classes = picturesByClass(Int32Array.from({ length: source.length }, (_, i) => source.label(i)));
    if (classes.length > 0) return classes;
  }
  throw new UserError(
    'data',
    `--sampler ${name} needs one class a picture, but the data is a ${source.description}. Use --sampler distributed.`,
  );
}
