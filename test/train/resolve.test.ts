/** From flags, recipe, data and machine to one configuration. */

import { describe, expect, it } from 'vitest';
import { parseArguments } from '../../src/cli/arguments.js';
import { type Command, defineCommand } from '../../src/cli/command.js';
import { UserError } from '../../src/errors.js';
import { loadExperiment } from '../../src/train/experiment.js';
import { type TrainOptions, trainAliases, trainOptions } from '../../src/train/options.js';
import { ORIGINAL_DEFAULTS } from '../../src/train/original-defaults.js';
import { readRequest, type TrainFacts } from '../../src/train/request.js';
import { resolveTrainConfig } from '../../src/train/resolve.js';

const command = defineCommand({
  name: 'train',
  summary: 'test',
  examples: [],
  options: trainOptions,
  aliases: trainAliases,
  overrides: true,
  async run() {},
});

const LAPTOP: TrainFacts = {
  images: 10_000,
  labelled: true,
  medianSize: 32,
  cores: 8,
  memory: 16 * 2 ** 30,
  device: 'cpu',
  gpuCount: 0,
};
const GPU_BOX: TrainFacts = {
  ...LAPTOP,
  images: 1_281_167,
  medianSize: 375,
  cores: 16,
  device: 'cuda',
  gpuCount: 1,
  fastBf16: true,
};

function settle(line: string, facts: Partial<TrainFacts> = {}, base = LAPTOP) {
  const { options, given, overrides } = parseArguments(command as Command, line.split(' ').filter(Boolean));
  const experiment = loadExperiment((options as TrainOptions).cfg, overrides).value;
  const request = readRequest(options as TrainOptions, given, experiment);
  return resolveTrainConfig(request, experiment, { ...base, ...facts });
}

function refusal(line: string, facts: Partial<TrainFacts> = {}): string {
  try {
    settle(line, facts);
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  }
  throw new Error(`expected a UserError for ${line}`);
}

const ORIGINAL = '--data_path /d/x --cfg configs/swin/swin_tiny_patch4_window7_224.yaml --arch swin_tiny';

describe('automatic choices', () => {
  it('need nothing but a data path, and give a reason for each', () => {
    const { config, reasons, notes } = settle('--data_path /d/cifar10/train');
    expect(config).toMatchObject({
      defaults: 'auto',
      device: 'cpu',
      precision: 'fp32',
      batch_size_per_gpu: 64,
      global_crops_size: 32,
      local_crops: [{ size: 16, count: 2 }],
      out_dim: 1024,
      momentum_teacher: 0.99,
      norm_last_layer: true,
      warmup_teacher_temp: 0.04,
      epochs: 20,
      warmup_epochs: 2,
      num_workers: 2,
      threads: 8,
      output_dir: 'runs/cifar10',
      batches_per_epoch: 156,
      model: { name: 'swin_transformer', spec: { PATCH_SIZE: 4 } },
    });
    expect(notes).toEqual([]);
    for (const name of [
      'arch',
      'batch_size_per_gpu',
      'num_workers',
      'out_dim',
      'warmup_epochs',
      'momentum_teacher',
      'epochs',
      'global_crops_size',
      'precision',
      'device',
    ])
      expect(reasons[name]).toBeTypeOf('string');
    expect(Object.isFrozen(config.local_crops[0])).toBe(true);
    for (const [name, value] of Object.entries(config))
      if (!['cfg', 'max_iterations', 'cutmix_minmax', 'checkpoint_key', 'weights_base'].includes(name))
        expect(value, name).toBeDefined();
  });

  it('follow the data and the machine', () => {
    const big = settle('--data_path d', {}, GPU_BOX).config;
    expect(big).toMatchObject({
      device: 'cuda',
      precision: 'bf16',
      global_crops_size: 224,
      local_crops_size: [96],
      out_dim: 16_384,
      weight_init: 'original',
      use_bn_in_head: false,
      contrast_weight: 0,
      lr: 5e-4,
    });
    expect(big.model.arch).toBe('swin_tiny');
    expect(settle('--data_path d', { fastBf16: true }).config.precision).toBe('bf16');
    expect(settle('--data_path d', { memory: 2 ** 31 }).config.batch_size_per_gpu).toBe(32);
    expect(settle('--data_path d', { medianSize: 400 }).config.global_crops_size).toBe(96);
    const few = settle('--data_path d', { images: 37 });
    expect(few.config).toMatchObject({ batch_size_per_gpu: 32, batches_per_epoch: 1 });
    expect(few.reasons.batch_size_per_gpu).toBe('only 37 pictures');
    expect(settle('--data_path d', { images: 1 }).config.batches_per_epoch).toBe(1);
  });

  it('help short runs and narrow networks to start', () => {
    const { config, reasons } = settle('--data_path d --batch_size_per_gpu 128 --accumulate 2', {
      worldSize: 3,
      medianSize: 64,
    });
    expect(config).toMatchObject({ weight_init: 'fan_in', use_bn_in_head: true, contrast_weight: 10 });
    expect(config.scaled_lr).toBeCloseTo(0.001, 12);
    expect(reasons).toMatchObject({
      weight_init: '48 channels are narrow',
      contrast_weight: 'at most 20000 steps',
      lr: expect.stringMatching(/^0.001 for each of about 260 steps/),
    });
    const wide = settle('--data_path d', { images: 3000, medianSize: 375 }, GPU_BOX).config;
    expect(wide).toMatchObject({ weight_init: 'fan_in', use_bn_in_head: true, contrast_weight: 10 });
    const many = settle('--data_path d', { images: 1_281_167, medianSize: 375 }).config;
    expect(many).toMatchObject({ weight_init: 'fan_in', use_bn_in_head: false, contrast_weight: 0 });
    const mixed = settle('--data_path d --use_mixup');
    expect(mixed.config).toMatchObject({ use_bn_in_head: true, contrast_weight: 0 });
    expect(mixed.reasons.contrast_weight).toBe('pictures are mixed');
    const asked = settle('--data_path d --contrast_weight 0 --use_bn_in_head False --weight_init original');
    expect(asked.config).toMatchObject({
      weight_init: 'original',
      use_bn_in_head: false,
      contrast_weight: 0,
    });
    expect(asked.reasons).not.toHaveProperty('contrast_weight');
  });

  it('give way to what is given', () => {
    const { config, reasons } = settle(
      '--data_path d --out-dim 99 --epochs 3 --use_dense_prediction False --workers 5 --global_crops_size 64',
    );
    expect(config).toMatchObject({
      out_dim: 99,
      epochs: 3,
      warmup_epochs: 1,
      use_dense_prediction: false,
      num_workers: 5,
      local_crops_size: [32],
    });
    expect(reasons).not.toHaveProperty('out_dim');
    expect(settle('--data_path d --warmup_epochs 50').config.epochs).toBe(50);
    expect(settle('--data_path d --local_crops_size 16 12').config.local_crops).toEqual([
      { size: 16, count: 1 },
      { size: 12, count: 1 },
    ]);
    expect(settle('--data_path d --local_crops_number 0').config.local_crops).toEqual([]);
  });

  it('are the same for the same arguments', () => {
    expect(settle('--data_path d')).toEqual(settle('--data_path d'));
  });
});

describe("the original's way", () => {
  it('is taken with --cfg or --arch, with its defaults', () => {
    const { config } = settle(ORIGINAL, {}, GPU_BOX);
    for (const [name, value] of Object.entries(ORIGINAL_DEFAULTS))
      if (name !== 'arch') expect(config[name as keyof typeof config], name).toEqual(value);
    expect(config).toMatchObject({ defaults: 'original', precision: 'fp16', scaled_lr: (5e-4 * 64) / 256 });
    expect(config.model).toMatchObject({
      arch: 'swin_tiny',
      name: 'swin_transformer',
      spec: { WINDOW_SIZE: 7 },
    });
    expect(settle('--data_path d --arch resnet50', {}, GPU_BOX).config.out_dim).toBe(65_536);
    expect(settle(`${ORIGINAL} --defaults auto`, {}, GPU_BOX).config.out_dim).toBe(16_384);
    expect(settle('--data_path d --defaults original').config.model.arch).toBe('deit_small');
  });

  it('works for a whole command line of the original', () => {
    const { config, notes } = settle(
      `${ORIGINAL} --batch_size_per_gpu 32 --epochs 300 --teacher_temp 0.07 --warmup_epochs 10 --warmup_teacher_temp_epochs 30 --norm_last_layer false --use_dense_prediction True --num_workers 10 --aug-opt dino_aug --local_crops_number 8 --color-jitter 0.4 --local_rank 0 --use_fp16 True MODEL.SPEC.WINDOW_SIZE 14`,
      {},
      GPU_BOX,
    );
    expect(config).toMatchObject({
      epochs: 300,
      norm_last_layer: false,
      use_dense_prediction: true,
      precision: 'fp16',
    });
    expect(config.model.spec).toMatchObject({ WINDOW_SIZE: 14 });
    expect(notes).toEqual(['--color_jitter has no effect with --aug_opt dino_aug.']);
  });

  it('lets warm-ups and batches that do not fit give way, unless they were asked for', () => {
    const { config, reasons } = settle(`${ORIGINAL} --epochs 5`, { images: 40 });
    expect(config).toMatchObject({ warmup_epochs: 1, batch_size_per_gpu: 32 });
    expect(reasons.warmup_epochs).toBe('10 would not fit into 5 epochs');
    expect(refusal(`${ORIGINAL} --epochs 5 --warmup_epochs 10`)).toContain(
      '--warmup_epochs 10 is more than --epochs 5',
    );
    expect(refusal('--data_path d --epochs 5 --warmup_teacher_temp_epochs 6')).toContain(
      'more than --epochs 5',
    );
    expect(refusal('--data_path d --batch_size_per_gpu 64', { images: 40 })).toContain(
      'more than the 40 pictures',
    );
  });
});

describe('recipes', () => {
  it('stand between flags and defaults', () => {
    const { config } = settle(
      `${ORIGINAL} --out_dim 77 PRETRAIN.out_dim 55 PRETRAIN.lr 0.002 PRETRAIN.clip_grad 1`,
    );
    expect(config).toMatchObject({ out_dim: 77, lr: 0.002, clip_grad: 1, epochs: 100 });
    expect(refusal('--data_path d --epochs 5 PRETRAIN.warmup_epochs 6')).toContain('more than --epochs 5');
  });
});

describe('processes', () => {
  it('share the pictures and scale the learning rate', () => {
    const { config } = settle(`${ORIGINAL} --accumulate 2`, { worldSize: 4, images: 1001 });
    expect(config).toMatchObject({
      batches_per_epoch: 3,
      scaled_lr: (5e-4 * 64 * 2 * 4) / 256,
      world_size: 4,
    });
  });
});

describe('impossible settings', () => {
  it.each([
    ['', '--data_path is missing'],
    ['--data_path d --device cuda', 'no CUDA device'],
    ['--data_path d --precision fp16', 'needs a GPU'],
    ['--data_path d --precision fp32 --use_fp16 True', 'contradict'],
    ['--data_path d --global_crops_size 8 --local_crops_size 1', 'smaller than a patch of 4'],
    [`${ORIGINAL} --local_crops_size 3`, 'A crop of 3 pixels is smaller than a patch of 4'],
    ['--data_path d --arch deit_small --local_crops_size 12', 'smaller than a patch of 16'],
    ['--data_path d --local_crops_scale 0.5 0.2', '0 < low <= high <= 1'],
    ['--data_path d --global_crops_scale 0 1', '0 < low <= high <= 1'],
    ['--data_path d --local_crops_number 4 4 --local_crops_size 16', 'one number for each size'],
    ['--data_path d --lr 0', '--lr: expected more than 0 but received 0.'],
    ['--data_path d --epochs 0', '--epochs: expected at least 1'],
    ['--data_path d MODEL.SPEC.WINDOW_SIZE 14', 'without MODEL.NAME'],
    ['--data_path d --aug-opt deit_aug --aa rand-m9-x1', "--aa 'rand-m9-x1': expected sections"],
    ['--data_path d --aug-opt deit_aug --aa v1', 'expected rand, augmix, v0'],
    ['--data_path d --use_mixup --cutmix_minmax 0.8 0.2', '0 <= low <= high <= 1'],
    ['--data_path d --use_mixup --contrast_weight 1', 'tells pictures apart'],
    ['--data_path d --sampler chunks', '--sampler'],
    ['--data_path d --dist_url tcp://x', 'not supported yet'],
  ])('%s', (line, message) => {
    expect(refusal(line)).toContain(message);
  });

  it('name the data', () => {
    expect(refusal('--data_path d', { images: 0 })).toContain('There are no pictures in d');
    expect(refusal('--data_path d --knn_every 1', { labelled: false })).toContain(
      '--knn_every needs classes',
    );
  });

  it('are told apart from odd ones, which are noted', () => {
    expect(settle('--data_path d --freeze_last_layer 9 --epochs 3').notes[0]).toContain('never learns');
    expect(settle('--data_path d --lr 1e-7').notes[0]).toContain('it will rise');
    expect(settle(`${ORIGINAL} --patch_size 8`).notes[0]).toContain('--patch_size has no effect');
  });
});
