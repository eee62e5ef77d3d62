/** The objects of a run, from its configuration. */

import type { DeepReadonly } from '../config/index.js';
import { alone, type Collectives } from '../dist/index.js';
import { buildBackbone } from '../models/index.js';
import { startByFanIn, synchroniseBatchNorms } from '../nn/index.js';
import {
  AdamW,
  GradScaler,
  Lars,
  type Optimizer,
  type ParamGroup,
  paramGroups,
  Sgd,
} from '../optim/index.js';
import {
  Contrast,
  DinoHead,
  HEAD_DEFAULTS,
  MultiCropNetwork,
  startTeacher,
  ViewLoss,
  ViewRegionLoss,
} from '../ssl/index.js';
import { type DType, manualSeed, setThreads } from '../torch/index.js';
import type { ResolvedTrainConfig } from './resolved-config.js';
import type { StepState } from './step.js';

type Config = DeepReadonly<ResolvedTrainConfig>;

const OPTIMIZERS: Record<Config['optimizer'], (groups: readonly ParamGroup[]) => Optimizer> = {
  adamw: (groups) => new AdamW(groups),
  sgd: (groups) => new Sgd(groups, 0.9),
  lars: (groups) => new Lars(groups),
};

const PRECISIONS: Record<Config['precision'], DType> = {
  fp32: 'float32',
  bf16: 'bfloat16',
  fp16: 'float16',
};

export function precisionOf(config: Config): DType {
  return PRECISIONS[config.precision];
}

/** Student, teacher (its copy, without drop path), loss and optimiser; all chance follows from the seed. */
export function buildState(config: Config, collectives: Collectives = alone): StepState {
  setThreads(config.threads);
  manualSeed(config.seed);
  const student = buildNetwork(config, {});
  if (config.weight_init === 'fan_in') startByFanIn(student);
  const teacher = buildNetwork(config, { dropPathRate: 0 });
  startTeacher(teacher, student);
  const options = {
    outDim: config.out_dim,
    warmupTeacherTemp: config.warmup_teacher_temp,
    teacherTemp: config.teacher_temp,
    warmupTeacherTempEpochs: config.warmup_teacher_temp_epochs,
    nepochs: config.epochs,
    collectives,
  };
  const loss = config.use_dense_prediction ? new ViewRegionLoss(options) : new ViewLoss(options);
  for (const module of [student, teacher, loss]) module.to({ device: config.device });
  for (const network of [student, teacher]) synchroniseBatchNorms(network, collectives);
  return {
    student,
    teacher,
    loss,
    ...(config.contrast_weight > 0 && {
      contrast: new Contrast(config.contrast_weight, config.contrast_temp, collectives),
    }),
    optimizer: OPTIMIZERS[config.optimizer](paramGroups(student)),
    ...(config.precision === 'fp16' && { scaler: new GradScaler() }),
  };
}

/** A backbone with its heads. */
export function buildNetwork(config: Config, options: { dropPathRate?: number }): MultiCropNetwork {
  const { arch, name, spec } = config.model;
  const backbone = buildBackbone({
    arch: spec === undefined ? arch : (name ?? arch),
    ...(spec !== undefined && { spec }),
    imgSize: config.global_crops_size,
    patchSize: config.patch_size,
    ...options,
  });
  const head = () =>
    new DinoHead({
      inDim: backbone.featureDim,
      outDim: config.out_dim,
      useBn: config.use_bn_in_head,
      normLastLayer: config.norm_last_layer,
      nlayers: HEAD_DEFAULTS.nlayers,
      hiddenDim: config.head_hidden_dim,
      bottleneckDim: config.head_bottleneck_dim,
    });
  return new MultiCropNetwork(backbone, head(), config.use_dense_prediction ? head() : null);
}
