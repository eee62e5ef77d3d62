/** The crops of a run, and how their pictures are mixed. */

import type { DeepReadonly } from '../config/index.js';
import {
  type CropBatch,
  type CropPlan,
  drawMixing,
  type MixingPolicy,
  mixes,
  mixPictures,
  networkInput,
  policyPlan,
  RANDOM_ERASING,
} from '../data/index.js';
import { type CropMixing, cropMixing } from '../ssl/index.js';
import { cat, scope, type Tensor } from '../torch/index.js';
import type { ResolvedTrainConfig } from './resolved-config.js';
import type { StepBatch } from './step.js';

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
    invert: config.invert_probability,
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

/** How pictures are mixed; undefined where none are. */
export function mixingPolicy(config: Config): MixingPolicy | undefined {
  if (!config.use_mixup) return undefined;
  const policy: MixingPolicy = {
    mixup: config.mixup,
    cutmix: config.cutmix,
    ...(config.cutmix_minmax && { cutmixMinmax: config.cutmix_minmax as [number, number] }),
    probability: config.mixup_prob,
    switchProbability: config.mixup_switch_prob,
    mode: config.mixup_mode,
    views: config.num_mixup_views,
  };
  return mixes(policy) ? policy : undefined;
}

/** A batch as the networks take it, outside of any scope: `releaseBatch` lets go of it. */
export function prepareBatch(batch: CropBatch, config: Config): StepBatch {
  const size = config.batch_size_per_gpu;
  const crops = batch.groups.map((group) => networkInput(group, config.device).keep());
  const policy = mixingPolicy(config);
  if (policy === undefined) return { size, crops };
  const mixing: (CropMixing | undefined)[] = [];
  const mixed = batch.groups.map(({ views, size: side }, group) =>
    scope(() => {
      const parts: Tensor[] = [];
      for (let i = 0; i < views; i++) {
        const view = mixing.length;
        const x = crops[group].narrow(0, i * size, size);
        if (view >= policy.views) {
          parts.push(x);
          mixing.push(undefined);
          continue;
        }
        const key = { seed: config.seed, epoch: batch.epoch, index: batch.indices[0], view };
        const pictures = drawMixing(key, policy, size, side);
        parts.push(mixPictures(x, pictures));
        const mix = cropMixing(pictures, side, config.smoothing, config.device);
        mix.targets.keep();
        mixing.push(mix);
      }
      return cat(parts, 0).keep();
    }),
  );
  const [teacherCrops, ...rest] = crops;
  for (const tensor of rest) tensor.dispose(); // the teacher looks at the global crops only
  return { size, crops: mixed, teacherCrops, mixing };
}

export function releaseBatch({ crops, teacherCrops, mixing = [] }: StepBatch): void {
  for (const tensor of crops) tensor.dispose();
  teacherCrops?.dispose();
  for (const mix of mixing) mix?.targets.dispose();
}
