/** What a person asked for, and what is known about the data and the machine: the two sides of a configuration. */

import type { DeepReadonly } from '../config/index.js';
import type { Experiment } from './experiment.js';
import type { TrainOptions } from './options.js';

/** What is known about the data and the machine. */
export interface TrainFacts {
  /** Pictures to train on. */
  readonly images: number;
  /** Whether they lie in class folders (or a map with classes). */
  readonly labelled: boolean;
  /** Median of the shorter sides, in pixels. */
  readonly medianSize: number;
  /** Pictures that one process sees in an epoch, if it is not its share of all. */
  readonly imagesOfRank?: number;
  readonly cores: number;
  /** Main memory in bytes. */
  readonly memory: number;
  /** The best device there is. */
  readonly device: 'cpu' | 'cuda';
  readonly gpuCount: number;
  /** Processes of this run; 1 if left out. */
  readonly worldSize?: number;
  /** Whether the device computes bfloat16 at least as fast as float32. */
  readonly fastBf16?: boolean;
}

export interface Request {
  /** Flags given, else the recipe's PRETRAIN section, else defaults; automatic ones may be undefined. */
  readonly options: TrainOptions;
  /** Names of the options that a flag or the recipe has set. */
  readonly explicit: ReadonlySet<string>;
}

/** What was asked for, before anything is known about the data: enough to find the data and the device. */
export function readRequest(
  options: TrainOptions,
  given: ReadonlySet<string>,
  experiment: DeepReadonly<Experiment> = {},
): Request {
  const recipe = Object.entries(experiment.PRETRAIN ?? {}).filter(([, value]) => value !== undefined);
  const asked = Object.fromEntries(Object.entries(options).filter(([name]) => given.has(name)));
  const merged = { ...options, ...Object.fromEntries(recipe), ...asked } as TrainOptions;
  return { options: merged, explicit: new Set([...given, ...recipe.map(([name]) => name)]) };
}
