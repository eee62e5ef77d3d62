/** The schema of an experiment file: the original's tree of fields, and our PRETRAIN section. */

import { z } from 'zod';
import { type LoadedConfig, loadConfig } from '../config/index.js';
import { pretrainSection } from './options.js';

const text = () => z.string().optional();
const bool = () => z.boolean().optional();
const number = () => z.number().optional();
const numbers = () => z.array(z.number()).optional();
const texts = () => z.array(z.string()).optional();
const section = <Shape extends z.ZodRawShape>(shape: Shape) => z.strictObject(shape).optional();
/** Sections that may hold fields which the original does not list. */
const openSection = <Shape extends z.ZodRawShape>(shape: Shape) => z.looseObject(shape).optional();

/** What names the network. The fields of SPEC belong to the architecture, which checks them when it is built. */
export const modelSection = z.strictObject({
  NAME: text(),
  INIT_WEIGHTS: bool(),
  PRETRAINED: text(),
  PRETRAINED_LAYERS: texts(),
  NUM_CLASSES: number(),
  SPEC: z.record(z.string(), z.unknown()).optional(),
});

export const experimentSchema = z.strictObject({
  NAME: text(),
  MODEL: modelSection.optional(),
  /** Ours: flags of `esvit train` under their names; a flag on the command line wins. */
  PRETRAIN: pretrainSection.optional(),

  // From here on: fields of the original's files for supervised training. Its pre-training reads none of them,
  // and neither do we; they are accepted so that its files load unchanged.
  DATA_DIR: text(),
  DIST_BACKEND: text(),
  GPUS: numbers(),
  MULTIPROCESSING_DISTRIBUTED: bool(),
  OUTPUT_DIR: text(),
  PIN_MEMORY: bool(),
  PRINT_FREQ: number(),
  RANK: number(),
  VERBOSE: bool(),
  WORKERS: number(),
  MODEL_SUMMARY: bool(),
  AMP: section({ ENABLED: bool(), MEMORY_FORMAT: text() }),
  CUDNN: section({ BENCHMARK: bool(), DETERMINISTIC: bool(), ENABLED: bool() }),
  LOSS: openSection({
    LABEL_SMOOTHING: number(),
    LOSS: text(),
    FOCAL: section({ NORMALIZE: bool(), ALPHA: number(), GAMMA: number() }),
  }),
  DATASET: section({
    ROOT: text(),
    DATASET: text(),
    TRAIN_SET: text(),
    TEST_SET: text(),
    DATA_FORMAT: text(),
    LABELMAP: text(),
    TRAIN_TSV_LIST: texts(),
    TEST_TSV_LIST: texts(),
    COCO: openSection({ SCALES: texts(), BALANCE_DATA: bool() }),
    LOADER: text(),
    SAMPLER: text(),
    NUM_SAMPLES_CLASS: z.union([z.string(), z.number()]).optional(),
    TARGET_SIZE: number(),
  }),
  INPUT: section({ MEAN: numbers(), STD: numbers() }),
  AUG: section({
    SCALE: numbers(),
    RATIO: numbers(),
    COLOR_JITTER: numbers(),
    GRAY_SCALE: number(),
    GAUSSIAN_BLUR: number(),
    DROPBLOCK_LAYERS: numbers(),
    DROPBLOCK_KEEP_PROB: number(),
    DROPBLOCK_BLOCK_SIZE: number(),
    MIXUP_PROB: number(),
    MIXUP: number(),
    MIXCUT: number(),
    MIXCUT_MINMAX: numbers(),
    MIXUP_SWITCH_PROB: number(),
    MIXUP_MODE: text(),
    MIXCUT_AND_MIXUP: bool(),
    INTERPOLATION: number(),
    TIMM_AUG: openSection({ USE_LOADER: bool(), USE_TRANSFORM: bool() }),
  }),
  SWA: section({
    ENABLED: bool(),
    DEVICE: text(),
    BEGIN_EPOCH: number(),
    LR_RATIO: number(),
    ANNEAL_EPOCHS: number(),
    ANNEAL_STRATEGY: text(),
    FROZEN_BN: bool(),
  }),
  TRAIN: section({
    AUTO_RESUME: bool(),
    CHECKPOINT: text(),
    LR_SCHEDULER: openSection({}),
    LR: number(),
    OPTIMIZER: text(),
    OPTIMIZER_ARGS: openSection({}),
    MOMENTUM: number(),
    WD: number(),
    WITHOUT_WD_LIST: texts(),
    NESTEROV: bool(),
    GAMMA1: number(),
    GAMMA2: number(),
    BEGIN_EPOCH: number(),
    END_EPOCH: number(),
    IMAGE_SIZE: numbers(),
    BATCH_SIZE_PER_GPU: number(),
    SHUFFLE: bool(),
    SAMPLER: text(),
    EMA_DECAY: number(),
    EVAL_BEGIN_EPOCH: number(),
    LARC: bool(),
    DETECT_ANOMALY: bool(),
    CLIP_GRAD_NORM: number(),
    SAVE_ALL_MODELS: bool(),
  }),
  TEST: section({
    BATCH_SIZE_PER_GPU: number(),
    CENTER_CROP: bool(),
    IMAGE_SIZE: numbers(),
    INTERPOLATION: number(),
    MODEL_FILE: text(),
    REAL_LABELS: bool(),
    VALID_LABELS: text(),
  }),
  FINETUNE: section({
    FINETUNE: bool(),
    USE_TRAIN_AUG: bool(),
    BASE_LR: number(),
    BATCH_SIZE: number(),
    EVAL_EVERY: number(),
    TRAIN_MODE: bool(),
    FROZEN_LAYERS: texts(),
    LR_SCHEDULER: openSection({ DECAY_TYPE: text() }),
  }),
  DEBUG: section({ DEBUG: bool() }),
});

export type Experiment = z.output<typeof experimentSchema>;

/** What is read; the rest of MODEL is for supervised training too. */
const USED = new Set(['NAME', 'MODEL.NAME', 'MODEL.SPEC', 'PRETRAIN', 'BASE']);

export interface LoadedExperiment extends LoadedConfig<Experiment> {
  /** The sections and fields that somebody wrote and nothing here reads; to be named once in the log. */
  readonly unused: readonly string[];
}

/** Reads an experiment file (or overrides alone) by the schema above. Throws `UserError('config')`. */
export function loadExperiment(
  path: string | undefined,
  overrides: readonly string[] = [],
): LoadedExperiment {
  const loaded = loadConfig(path, { schema: experimentSchema, overrides });
  const fields = [...loaded.origins.keys()].flatMap((dotted) => {
    const [section, field] = dotted.split('.');
    if (section !== 'MODEL') return section;
    return field === undefined ? [] : `MODEL.${field}`;
  });
  return { ...loaded, unused: [...new Set(fields)].filter((name) => !USED.has(name)) };
}
