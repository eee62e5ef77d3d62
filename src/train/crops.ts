/** The crops of a run, and how their pictures are mixed. */

import type { DeepReadonly } from '../config/index.js';
import { type CropPlan, policyPlan, RANDOM_ERASING } from '../data/index.js';
import type { ResolvedTrainConfig } from './resolved-config.js';

type Config = DeepReadonly<ResolvedTrainConfig>;

/** Which crops are made of a picture, and how they are changed. */
export function cropPlan(config: Config): CropPlan {
  return policyPlan(config.aug_opt, {
    globalSize: config.global_crops_size,
    globalScale: config.global_crops_scale as [number, number],
    localSizes: config.local_crops.map(({ size }) => size),
    localCounts: config.local_crops.map(({ count }) => count),
    localScale: config.local_crops_scale as [number, number],
    blurRadius: config.blur_radius as [number, number],
    hue: config.hue_jitter,
    gray: config.gray_probability,
    autoAugment: config.aa,
    colorJitter: config.color_jitter,
    interpolation: config.train_interpolation,
    erasing: {
      ...RANDOM_ERASING,
      probability: config.reprob,
      mode: config.remode,
      count: config.recount,
    },
    sparesFirstView: config.resplit,
  });
}
