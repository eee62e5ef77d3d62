import { describe, expect, it } from 'vitest';
import { parseArguments } from '../../src/cli/arguments.js';
import { type Command, defineCommand } from '../../src/cli/command.js';
import { CropLoader, networkInput, openImages } from '../../src/data/index.js';
import { liveTensors, scope } from '../../src/torch/index.js';
import { cropPlan, prepareBatch, releaseBatch, trainStep } from '../../src/train/index.js';
import { type TrainOptions, trainOptions } from '../../src/train/options.js';
import { readRequest } from '../../src/train/request.js';
import { resolveTrainConfig } from '../../src/train/resolve.js';
import { writePictures } from '../data/pictures.js';
import { microState } from '../ssl/micro.js';

const command = defineCommand({
  name: 'train',
  summary: 'test',
  examples: [],
  options: trainOptions,
  async run() {},
});

function settle(line: string) {
  const crops =
    '--global_crops_size 16 --local_crops_size 8 12 --local_crops_number 2 1 --batch_size_per_gpu 4';
  const words = `--data_path d --device cpu ${crops} ${line}`.split(' ').filter(Boolean);
  const { options, given } = parseArguments(command as Command, words);
  return resolveTrainConfig(
    readRequest(options as TrainOptions, given),
    {},
    { images: 8, labelled: false, medianSize: 32, cores: 1, memory: 2 ** 33, device: 'cpu', gpuCount: 0 },
  );
}

const settings = {
  epoch: 1,
  lr: 1e-3,
  weightDecay: 0.04,
  momentum: 0.99,
  clipGrad: 3,
  freezeLastLayer: false,
  precision: 'float32',
} as const;

describe('a batch of a run', () => {
  it('shows mixed pictures to the student and whole ones to the teacher', async () => {
    const { config, notes } = settle('--use_mixup True --num_mixup_views 3 --smoothing 0.1');
    expect(notes).toEqual([]);
    const source = await openImages(await writePictures(8, 30));
    const state = microState();
    const loader = new CropLoader({ source, plan: cropPlan(config), seed: config.seed, batchSize: 4 });
    const before = liveTensors();
    for await (const batch of loader.batches(0)) {
      const prepared = prepareBatch(batch, config);
      const bytes = (i: number) => scope(() => networkInput(batch.groups[i]).bytes().slice());
      expect(prepared.teacherCrops!.bytes()).toEqual(bytes(0));
      expect(prepared.crops.map(({ shape }) => shape)).toEqual([
        [8, 3, 16, 16],
        [8, 3, 8, 8],
        [4, 3, 12, 12],
      ]);
      const firstLocal = (x: Uint8Array) => x.subarray(0, x.length / 2);
      const secondLocal = (x: Uint8Array) => x.subarray(x.length / 2);
      const local = prepared.crops[1].bytes();
      expect(prepared.crops[0].bytes()).not.toEqual(bytes(0));
      expect(firstLocal(local)).not.toEqual(firstLocal(bytes(1)));
      expect(secondLocal(local)).toEqual(secondLocal(bytes(1)));
      expect(prepared.mixing!.map((mix) => mix !== undefined)).toEqual([true, true, true, false, false]);
      const sums = scope(() => prepared.mixing![0]!.targets.sum([0]).toFloat32());
      for (const sum of sums) expect(sum).toBeCloseTo(1, 5);

      const { taken, loss } = scope(() => trainStep(state, [prepared], 1, settings));
      expect(taken).toBe(true);
      expect(Number.isFinite(loss)).toBe(true);
      releaseBatch(prepared);
    }
    await loader.close();
    expect(liveTensors() - before).toBeLessThanOrEqual(2 * state.student.parameters().length + 4);
  });

  it('is the same twice, and of whole pictures unless mixing is asked for', async () => {
    const source = await openImages(await writePictures(8, 30));
    const seen = async (line: string) => {
      const { config } = settle(line);
      const loader = new CropLoader({ source, plan: cropPlan(config), seed: config.seed, batchSize: 4 });
      const texts: string[] = [];
      for await (const batch of loader.batches(0)) {
        const before = liveTensors();
        const prepared = prepareBatch(batch, config);
        texts.push(...prepared.crops.map((x) => Buffer.from(x.bytes()).toString('base64')));
        releaseBatch(prepared);
        expect(liveTensors()).toBe(before);
      }
      await loader.close();
      return texts;
    };
    const plain = await seen('');
    for (const mode of ['batch', 'pair', 'elem']) {
      const line = `--use_mixup True --mixup_mode ${mode} --aug_opt basic_aug`;
      const mixed = await seen(line);
      expect(mixed).not.toEqual(plain);
      expect(await seen(line)).toEqual(mixed);
    }
    expect(await seen('--use_mixup True --num_mixup_views 0')).toEqual(plain);
  });

  it('says when flags come to nothing', () => {
    expect(settle('--use_mixup True --mixup 0 --cutmix 0').notes[0]).toContain('mixes nothing');
    expect(settle('--mixup 0.3').notes).toEqual(['--mixup has no effect without --use_mixup True.']);
    expect(settle('--aug_opt deit_aug --gray_probability 0.1').notes).toEqual([
      '--gray_probability has no effect with --aug_opt deit_aug.',
    ]);
    expect(settle('--aug_opt deit_aug --color_jitter 0.1').notes).toEqual([
      '--color_jitter has no effect unless --aa is none.',
    ]);
  });
});
