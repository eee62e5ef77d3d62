/** The settings of every step of a run. */

import type { DeepReadonly } from '../config/index.js';
import { cosineSchedule } from '../optim/index.js';
import { precisionOf } from './build.js';
import type { ResolvedTrainConfig } from './resolved-config.js';
import type { StepSettings } from './step.js';

/** Steps of an epoch: batches of each process, gathered by `accumulate`. */
export function stepsPerEpoch(config: DeepReadonly<ResolvedTrainConfig>): number {
  return Math.floor(config.batches_per_epoch / config.accumulate);
}

/** The settings of a step by its number in the whole run. */
export function stepSettings(config: DeepReadonly<ResolvedTrainConfig>): (step: number) => StepSettings {
  const iterationsPerEpoch = stepsPerEpoch(config);
  const { epochs } = config;
  const lr = cosineSchedule({
    base: config.scaled_lr,
    final: config.min_lr,
    epochs,
    iterationsPerEpoch,
    warmupEpochs: config.warmup_epochs,
  });
  const weightDecay = cosineSchedule({
    base: config.weight_decay,
    final: config.weight_decay_end,
    epochs,
    iterationsPerEpoch,
  });
  const momentum = cosineSchedule({ base: config.momentum_teacher, final: 1, epochs, iterationsPerEpoch });
  const precision = precisionOf(config);
  return (step) => {
    const epoch = Math.floor(step / iterationsPerEpoch);
    return {
      epoch,
      lr: lr[step],
      weightDecay: weightDecay[step],
      momentum: momentum[step],
      clipGrad: config.clip_grad,
      freezeLastLayer: epoch < config.freeze_last_layer,
      precision,
    };
  };
}
