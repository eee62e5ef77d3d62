/** The configuration of a run once everything is settled. */

import type { DeepReadonly } from '../config/index.js';
import type { TrainOptions } from './options.js';

/** Left undefined where nothing was asked for and nothing is needed. */
type MayStayOpen = 'cfg' | 'max_iterations' | 'cutmix_minmax' | 'checkpoint_key' | 'weights_base';

/** Every flag with its value, under the original's names, and what follows from them. */
export interface ResolvedTrainConfig
  extends Required<Omit<TrainOptions, MayStayOpen | 'device' | 'precision'>>,
    Pick<TrainOptions, MayStayOpen> {
  device: 'cpu' | 'cuda';
  precision: 'fp32' | 'bf16' | 'fp16';
  /** `name` and `spec` are MODEL.NAME and MODEL.SPEC; without them `arch` alone says which network. */
  model: { arch: string; name?: string; spec?: Record<string, unknown> };
  /** Local crops by size; empty without any. */
  local_crops: { size: number; count: number }[];
  world_size: number;
  /** Batches of each process in an epoch; what does not fill a batch is left out. */
  batches_per_epoch: number;
  /** Highest learning rate after scaling: lr * batch * accumulate * processes / 256. */
  scaled_lr: number;
}

export interface Resolution {
  readonly config: DeepReadonly<ResolvedTrainConfig>;
  /** Why, for every field that was chosen automatically. */
  readonly reasons: Readonly<Record<string, string>>;
  /** What a person should know: flags without effect, odd but possible settings. */
  readonly notes: readonly string[];
}
