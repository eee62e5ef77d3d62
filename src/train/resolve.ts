/** From what a person asked for, the data and the machine to the one frozen configuration of a run, with reasons. */

import { basename, dirname, join, resolve as resolvePath } from 'node:path';
import { type DeepReadonly, deepFreeze } from '../config/index.js';
import { UserError } from '../errors.js';
import { checkCrops, localCrops, patchOf } from './crop-choice.js';
import type { Experiment } from './experiment.js';
import type { TrainOptionName, TrainOptions } from './options.js';
import { ORIGINAL_DEFAULTS } from './original-defaults.js';
import type { Request, TrainFacts } from './request.js';
import type { Resolution, ResolvedTrainConfig } from './resolved-config.js';
import * as small from './small-data.js';
import { flagsWithoutEffect, refuseUnsupported } from './unsupported.js';

/**
 * Settles every field. Pure: the same arguments give the same result. Throws `UserError` for settings that
 * are impossible or not supported yet; automatic values give way where explicit ones collide with them.
 */
export function resolveTrainConfig(
  request: Request,
  experiment: DeepReadonly<Experiment>,
  facts: TrainFacts,
): Resolution {
  return new Resolver(request, experiment, facts).run();
}

class Resolver {
  private readonly options: TrainOptions;
  private readonly explicit: ReadonlySet<string>;
  private readonly isOriginal: boolean;
  private readonly reasons: Record<string, string> = {};
  private readonly notes: string[];

  constructor(
    request: Request,
    private readonly experiment: DeepReadonly<Experiment>,
    private readonly facts: TrainFacts,
  ) {
    this.options = request.options;
    this.explicit = request.explicit;
    const mode =
      this.options.defaults ??
      (this.options.cfg !== undefined || this.explicit.has('arch') ? 'original' : 'auto');
    this.isOriginal = mode === 'original';
    this.notes = flagsWithoutEffect(this.options, this.explicit);
  }

  run(): Resolution {
    const { options, facts } = this;
    refuseUnsupported(options);
    const dataPath = this.dataPath();
    if (facts.images < 1)
      throw new UserError('data', `There are no pictures in ${dataPath}; --data_path must hold some.`);
    if (options.knn_every > 0 && !facts.labelled)
      throw new UserError(
        'data',
        `--knn_every needs classes, but the pictures in ${dataPath} do not have one each; put them into one folder a class or leave it out.`,
      );

    const worldSize = facts.worldSize ?? 1;
    const device = this.device();
    const precision = this.precision(device);
    const crops = this.crops(device);
    const model = this.model(device, crops.global_crops_size);
    checkCrops(crops, patchOf(model, options.patch_size));
    const batch = this.batch(device, worldSize, crops.global_crops_size);
    const batchesPerEpoch = Math.floor(this.ownImages(worldSize) / batch);
    const epochs = this.epochs(device);
    const steps = (epochs * batchesPerEpoch) / options.accumulate;
    const isShort = steps <= small.SHORT_RUN.steps;
    const picturesOfStep = batch * options.accumulate * worldSize;
    const learning = this.learning(epochs, steps, picturesOfStep, isShort);
    const teacher = this.teacher(epochs, steps);
    const scaledLr = (learning.lr * picturesOfStep) / 256;
    if (learning.min_lr > scaledLr)
      this.notes.push(
        `The learning rate (${scaledLr.toExponential(1)} after scaling with the batch) is below --min_lr ${learning.min_lr}, so it will rise.`,
      );
    if (learning.freeze_last_layer >= epochs)
      this.notes.push(
        `--freeze_last_layer ${learning.freeze_last_layer} covers all ${epochs} epochs: the last layer never learns.`,
      );

    const { cfg, max_iterations, cutmix_minmax, checkpoint_key, weights_base, ...rest } = options;
    const config: ResolvedTrainConfig = {
      ...rest,
      cfg,
      max_iterations,
      cutmix_minmax,
      checkpoint_key,
      weights_base,
      data_path: dataPath,
      defaults: this.isOriginal ? 'original' : 'auto',
      device,
      precision,
      use_fp16: precision !== 'fp32',
      threads: this.pick('threads', () => [Math.max(1, facts.cores), `all ${facts.cores} cores`]),
      num_workers: this.workers(device),
      arch: model.arch,
      model,
      ...crops,
      local_crops: localCrops(crops.local_crops_number, crops.local_crops_size),
      ...this.head(device),
      ...this.start(model, isShort),
      batch_size_per_gpu: batch,
      epochs,
      ...learning,
      ...teacher,
      saveckp_freq: this.pick('saveckp_freq', () => [0, 'the newest state is enough to go on']),
      output_dir: this.pick('output_dir', () => [runFolder(dataPath), 'named after the data']),
      world_size: worldSize,
      batches_per_epoch: batchesPerEpoch,
      scaled_lr: scaledLr,
    };
    return { config: deepFreeze(config), reasons: this.reasons, notes: this.notes };
  }

  /** The explicit value, the original's default in original mode, or the automatic one with its reason. */
  private pick<Name extends TrainOptionName>(
    name: Name,
    choose: () => [value: NonNullable<TrainOptions[Name]>, reason: string],
  ): NonNullable<TrainOptions[Name]> {
    const asked = this.options[name];
    if (this.explicit.has(name) && asked !== undefined && asked !== null)
      return asked as NonNullable<TrainOptions[Name]>;
    if (this.isOriginal && name in ORIGINAL_DEFAULTS)
      return ORIGINAL_DEFAULTS[name as keyof typeof ORIGINAL_DEFAULTS] as unknown as NonNullable<
        TrainOptions[Name]
      >;
    const [value, reason] = choose();
    this.reasons[name] = reason;
    return value;
  }

  private dataPath(): string {
    const { data_path: path } = this.options;
    if (path === undefined || path === '')
      throw new UserError('usage', '--data_path is missing; give the folder that holds the pictures.');
    return path;
  }

  private device(): 'cpu' | 'cuda' {
    const { device } = this.options;
    if (device === 'cuda' && this.facts.device !== 'cuda')
      throw new UserError(
        'environment',
        '--device cuda: no CUDA device can be used here; see esvit doctor, or use --device cpu.',
      );
    if (device !== 'auto') return device;
    this.reasons.device = this.facts.device === 'cuda' ? 'a CUDA device is there' : 'no CUDA device is there';
    return this.facts.device;
  }

  private precision(device: 'cpu' | 'cuda'): 'fp32' | 'bf16' | 'fp16' {
    const { precision, use_fp16: half } = this.options;
    const isFast = this.facts.fastBf16 === true;
    if (precision !== 'auto') {
      if (precision === 'fp16' && device === 'cpu')
        throw new UserError('config', '--precision fp16 needs a GPU; on a CPU use bf16 or fp32.');
      if (this.explicit.has('use_fp16') && half === (precision === 'fp32'))
        throw new UserError(
          'config',
          `--precision ${precision} and --use_fp16 ${half ? 'True' : 'False'} contradict each other; leave one out.`,
        );
      return precision;
    }
    if (this.explicit.has('use_fp16') && half === false) return 'fp32';
    if (device === 'cuda') {
      if (this.isOriginal || half === true) return 'fp16';
      this.reasons.precision = isFast
        ? 'this GPU computes bf16 fast'
        : 'this GPU computes fp16 fast, bf16 not';
      return isFast ? 'bf16' : 'fp16';
    }
    this.reasons.precision = isFast ? 'this CPU computes bf16 fast' : 'this CPU has no fast half precision';
    return isFast ? 'bf16' : 'fp32';
  }

  private workers(device: 'cpu' | 'cuda'): number {
    if (this.explicit.has('num_workers') && this.options.num_workers !== undefined)
      return this.options.num_workers;
    const { cores } = this.facts;
    this.reasons.num_workers = `${cores} cores, ${device === 'cpu' ? 'shared with the training itself' : 'the training runs on the GPU'}`;
    const most = device === 'cpu' ? Math.ceil(cores / 4) : cores - 1;
    return Math.max(1, Math.min(ORIGINAL_DEFAULTS.num_workers, most));
  }

  private crops(device: 'cpu' | 'cuda') {
    const { medianSize } = this.facts;
    const asked = this.explicit.has('global_crops_size') ? this.options.global_crops_size : undefined;
    const choice = small.lookUp(small.CROPS[device], asked ?? medianSize);
    const why = `pictures of about ${medianSize} pixels, on a ${device === 'cpu' ? 'CPU' : 'GPU'}`;
    const sizes = this.pick('local_crops_size', () => [[choice.local], why]);
    return {
      global_crops_size: this.pick('global_crops_size', () => [choice.global, why]),
      global_crops_scale: this.pick('global_crops_scale', () => [[...choice.globalScale], why]),
      local_crops_size: sizes,
      local_crops_number: this.pick('local_crops_number', () => [
        sizes.map(() => Math.max(1, Math.floor(choice.localNumber / sizes.length))),
        why,
      ]),
      local_crops_scale: this.pick('local_crops_scale', () => [[...choice.localScale], why]),
      hue_jitter: this.pick('hue_jitter', () => [ORIGINAL_DEFAULTS.hue_jitter, "the original's"]),
      gray_probability: this.pick('gray_probability', () => [
        ORIGINAL_DEFAULTS.gray_probability,
        "the original's",
      ]),
      blur_radius: this.pick('blur_radius', () => [[...choice.blurRadius], why]),
    };
  }

  private model(device: 'cpu' | 'cuda', size: number): ResolvedTrainConfig['model'] {
    const { NAME: name, SPEC: spec } = this.experiment.MODEL ?? {};
    const asked = this.explicit.has('arch') ? this.options.arch : undefined;
    if (name !== undefined || spec !== undefined) {
      const arch = asked ?? name;
      if (arch === undefined)
        throw new UserError(
          'config',
          'MODEL.SPEC is given without MODEL.NAME; add the name of the network, e.g. swin_transformer.',
        );
      const isPlain = /^(deit|vit)/.test(arch);
      if (this.explicit.has('patch_size') && !isPlain)
        this.notes.push('--patch_size has no effect here: MODEL.SPEC.PATCH_SIZE sets the patches.');
      return {
        arch,
        ...(name !== undefined && { name }),
        ...(spec !== undefined && { spec: structuredClone(spec) as Record<string, unknown> }),
      };
    }
    if (asked !== undefined) return { arch: asked };
    if (this.isOriginal) return { arch: ORIGINAL_DEFAULTS.arch };
    const choice = small.lookUp(small.MODELS[device], size);
    this.reasons.arch = `a Swin that a ${device === 'cpu' ? 'CPU' : 'GPU'} can train on crops of ${size} pixels`;
    return structuredClone(choice) as ResolvedTrainConfig['model'];
  }

  private batch(device: 'cpu' | 'cuda', worldSize: number, size: number): number {
    const { memory } = this.facts;
    const own = this.ownImages(worldSize);
    const isScarce = device === 'cpu' && memory < small.LITTLE_MEMORY.bytes;
    const batch = this.pick('batch_size_per_gpu', () => {
      if (isScarce) return [small.LITTLE_MEMORY.batch, `only ${(memory / 2 ** 30).toFixed(1)} GiB of memory`];
      if (device === 'cpu') return [small.BATCH.cpu, 'on a CPU'];
      return [
        size <= 128 ? small.BATCH.cuda.small : small.BATCH.cuda.large,
        `on a GPU with crops of ${size} pixels`,
      ];
    });
    if (batch <= own) return batch;
    if (this.explicit.has('batch_size_per_gpu'))
      throw new UserError(
        'config',
        `--batch_size_per_gpu ${batch} is more than the ${own} pictures there are for each process, so no batch would be full; use at most ${own}.`,
      );
    this.reasons.batch_size_per_gpu = `only ${own} pictures${worldSize > 1 ? ' for each process' : ''}`;
    return 2 ** Math.floor(Math.log2(own));
  }

  private ownImages(worldSize: number): number {
    return this.facts.imagesOfRank ?? Math.ceil(this.facts.images / worldSize);
  }

  private epochs(device: 'cpu' | 'cuda'): number {
    const { images } = this.facts;
    const wanted = Math.max(this.options.warmup_epochs ?? 0, this.options.warmup_teacher_temp_epochs ?? 0);
    return this.pick('epochs', () => {
      const { least, most } = small.EPOCHS;
      const epochs = Math.min(
        most[device],
        Math.max(least, Math.round(small.PICTURES_SEEN[device] / images)),
      );
      return [Math.max(epochs, wanted), `${images} pictures on a ${device === 'cpu' ? 'CPU' : 'GPU'}`];
    });
  }

  private head(device: 'cpu' | 'cuda') {
    const { images } = this.facts;
    return {
      out_dim: this.pick('out_dim', () => [small.lookUp(small.OUT_DIM, images), `${images} pictures`]),
      head_hidden_dim: this.pick('head_hidden_dim', () => [
        small.HEAD[device].hidden,
        `on a ${device === 'cpu' ? 'CPU' : 'GPU'}`,
      ]),
      head_bottleneck_dim: this.pick('head_bottleneck_dim', () => [
        small.HEAD[device].bottleneck,
        `on a ${device === 'cpu' ? 'CPU' : 'GPU'}`,
      ]),
      norm_last_layer: this.pick('norm_last_layer', () => [true, 'more stable']),
      use_dense_prediction: this.pick('use_dense_prediction', () => [
        small.DENSE,
        'views and regions, as in the paper',
      ]),
    };
  }

  /** What a short run needs to start at all, and a narrow network. */
  private start({ spec }: ResolvedTrainConfig['model'], isShort: boolean) {
    const { contrastWeight, steps: most } = small.SHORT_RUN;
    const isMixed = this.options.use_mixup;
    const length = `${isShort ? 'at most' : 'more than'} ${most} steps`;
    const width = spec?.DIM_EMBED;
    const isNarrow = typeof width === 'number' && width < small.NARROW;
    return {
      weight_init: this.pick('weight_init', () => [
        isShort || isNarrow ? 'fan_in' : 'original',
        isNarrow ? `${width} channels are narrow` : length,
      ]),
      use_bn_in_head: this.pick('use_bn_in_head', () => [isShort, length]),
      contrast_weight: this.pick('contrast_weight', () => [
        isShort && !isMixed ? contrastWeight : 0,
        isMixed ? 'pictures are mixed' : length,
      ]),
    };
  }

  private learning(epochs: number, steps: number, picturesOfStep: number, isShort: boolean) {
    const share = (part: number) => (epochs > 1 ? Math.max(1, Math.floor(epochs * part)) : 0);
    const original = ORIGINAL_DEFAULTS;
    const { stepLr } = small.SHORT_RUN;
    const warmup = this.pick('warmup_epochs', () => [
      Math.min(original.warmup_epochs, share(small.WARMUP_SHARE)),
      `a tenth of ${epochs} epochs, at most ${original.warmup_epochs}`,
    ]);
    return {
      lr: this.pick('lr', () => [
        isShort ? (stepLr * 256) / picturesOfStep : original.lr,
        isShort ? `${stepLr} for each of about ${Math.round(steps)} steps` : "the original's",
      ]),
      min_lr: this.pick('min_lr', () => [original.min_lr, "the original's"]),
      warmup_epochs: this.within('warmup_epochs', warmup, epochs, share(small.WARMUP_SHARE)),
      weight_decay: this.pick('weight_decay', () => [original.weight_decay, "the original's"]),
      weight_decay_end: this.pick('weight_decay_end', () => [original.weight_decay_end, "the original's"]),
      freeze_last_layer: this.pick('freeze_last_layer', () => [
        epochs > 1 ? 1 : 0,
        epochs > 1 ? "the original's" : 'one epoch only',
      ]),
    };
  }

  private teacher(epochs: number, steps: number) {
    const { warmup, final, largeFrom, warmupShare } = small.TEACHER_TEMP;
    const isLarge = this.facts.images >= largeFrom;
    const size = `${isLarge ? 'many' : 'few'} pictures`;
    const start = this.pick('warmup_teacher_temp', () => [warmup, 'works well in most cases']);
    const end = this.pick('teacher_temp', () => [isLarge ? final.large : final.small, size]);
    const share = Math.floor(epochs * warmupShare);
    const warmupEpochs = this.pick('warmup_teacher_temp_epochs', () =>
      start === end
        ? [0, 'the temperature stays the same']
        : [share, `${warmupShare * 100}% of ${epochs} epochs`],
    );
    return {
      momentum_teacher: this.pick('momentum_teacher', () => [
        small.lookUp(small.MOMENTUM, steps),
        `about ${Math.round(steps)} steps`,
      ]),
      warmup_teacher_temp: start,
      teacher_temp: end,
      warmup_teacher_temp_epochs: this.within('warmup_teacher_temp_epochs', warmupEpochs, epochs, share),
    };
  }

  /** `value` if it fits into the epochs; refused if somebody asked for it, else `instead`. */
  private within(name: TrainOptionName, value: number, epochs: number, instead: number): number {
    if (value <= epochs) return value;
    if (this.explicit.has(name))
      throw new UserError(
        'config',
        `--${name} ${value} is more than --epochs ${epochs}; use at most ${epochs}.`,
      );
    this.reasons[name] = `${value} would not fit into ${epochs} epochs`;
    return instead;
  }
}

/** `runs/NAME`, after the data folder; `train` and the like say nothing, so the folder above counts there. */
function runFolder(dataPath: string): string {
  const path = resolvePath(dataPath);
  const name = /^(train|training|images|data)$/i.test(basename(path))
    ? basename(dirname(path))
    : basename(path);
  return join('runs', name === '' ? 'pretrain' : name);
}
