/** `esvit eval-knn`: weighted k-NN accuracy of frozen features. */

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { ImageSource } from '../data/index.js';
import { UserError } from '../errors.js';
import type { FeatureTable, LabelledFeatures } from '../eval/index.js';
import { defineCommand, type Io } from './command.js';
import { networkOptions } from './network.js';

const positive = () => z.number().int().min(1);

const options = z.strictObject({
  data_path: z.string().optional().describe('Labelled data with a training and a val split'),
  dataset: z.string().default('').describe('Name of the data set; decides the layout for some names'),
  zip_mode: z.boolean().default(false).describe('Read train.zip, val.zip and their maps in --data_path'),
  tsv_mode: z.boolean().default(false).describe('Read the TSV layout in --data_path'),
  ...networkOptions,
  nb_knn: z.array(positive()).default([10, 20, 100, 200]).describe('Numbers of neighbours that vote'),
  temperature: z.array(z.number().positive()).default([0.07]).describe('Temperatures of the votes'),
  max_train: positive().optional().describe('Let only so many training pictures vote, evenly spread'),
  max_val: positive().optional().describe('Classify only so many pictures, evenly spread'),
  dump_features: z.string().optional().describe('Folder to write the features to'),
  load_features: z.string().optional().describe('Folder of features written before; no network is run'),
  raw_pixels: z.boolean().default(false).describe('Compare pixels instead of features, as a baseline'),
});

type Options = z.output<typeof options>;

const DUMP = 'features.safetensors';

export const evalKnn = defineCommand({
  name: 'eval-knn',
  summary: 'Weighted k-NN accuracy of frozen features',
  examples: [
    'esvit eval-knn --run runs/first --data_path pictures',
    'esvit eval-knn --run runs/first --data_path pictures --checkpoint_key student --nb_knn 1 5 20',
    'esvit eval-knn --arch swin_tiny --pretrained_weights swin_tiny.pth --data_path imagenet --dump_features features',
  ],
  options,
  aliases: { batch_size_per_gpu: 'batch_size', num_workers: 'workers' },
  async run(options, io) {
    const { knnAccuracy } = await import('../eval/index.js');
    const { cpus } = await import('node:os');
    const { setThreads } = await import('../torch/index.js');
    setThreads(options.threads ?? cpus().length);
    const { bank, queries } =
      options.load_features === undefined ? await compute(options, io) : await load(options.load_features);
    if (options.dump_features !== undefined) await dump(options.dump_features, bank, queries, io);
    const results = knnAccuracy(bank, queries, { ks: options.nb_knn, temperatures: options.temperature });
    io.out(`${queries.labels.numel} pictures classified by ${bank.labels.numel} labelled ones`);
    for (const { k, temperature, top1, top5 } of results)
      io.out(
        `${`k = ${k}`.padEnd(8)}${options.temperature.length > 1 ? `T = ${temperature}  ` : ''}top-1 ${top1.toFixed(2)}%  top-5 ${top5.toFixed(2)}%`,
      );
    return { results, bank: bank.labels.numel, queries: queries.labels.numel };
  },
});

async function compute(
  options: Options,
  io: Io,
): Promise<{ bank: LabelledFeatures; queries: LabelledFeatures }> {
  const { layoutAsked, openImages } = await import('../data/index.js');
  const { loadNetwork } = await import('./network.js');
  const { data_path: path } = options;
  if (path === undefined)
    throw new UserError('usage', '--data_path is missing; give labelled data, or --load_features a folder.');
  const layout = { layout: layoutAsked(options), note: (line: string) => io.log(line) };
  const train = await openImages(path, layout);
  const opened: ImageSource[] = [train];
  try {
    if (train.labelKind === 'multiple')
      throw new UserError(
        'data',
        `the pictures in ${path} have several labels each, and k-NN votes on one: use data with one class a picture.`,
      );
    if (train.labelKind === 'none' || train.classes.length === 0)
      throw new UserError(
        'data',
        `the pictures in ${path} have no classes, so nothing can be voted on. Put them into one folder a class.`,
      );
    const val = await openImages(path, { ...layout, split: 'val', classes: train.classes });
    opened.push(val);
    const network = options.raw_pixels ? undefined : await loadNetwork(options, io);
    const bank = await describePictures(train, 'training pictures', options, network, options.max_train, io);
    const queries = await describePictures(val, 'val pictures', options, network, options.max_val, io);
    return { bank, queries };
  } finally {
    for (const source of opened) source.close();
  }
}

async function describePictures(
  source: ImageSource,
  label: string,
  options: Options,
  network: Awaited<ReturnType<typeof import('./network.js').loadNetwork>> | undefined,
  most: number | undefined,
  io: Io,
): Promise<FeatureTable> {
  const { evaluationPlan, extractFeatures, extractPixels } = await import('../eval/index.js');
  const { evenly } = await import('../train/index.js');
  const count = Math.min(source.length, most ?? source.length);
  const bar = io.progress(count, { label, unit: 'images' });
  const settings = {
    plan: evaluationPlan(options.image_size ?? network?.imageSize ?? 32),
    batchSize: options.batch_size,
    workers: options.workers,
    device: network?.device ?? 'cpu',
    ...(most !== undefined && { indices: evenly(source.length, most) }),
    onProgress: (done: number) => bar.update(done),
  };
  try {
    const table =
      network === undefined
        ? await extractPixels(source, settings)
        : await extractFeatures(network.backbone, source, settings);
    if (table.skipped > 0) io.warn(`${table.skipped} ${label} could not be read and were left out.`);
    return table;
  } finally {
    bar.stop();
  }
}

async function dump(
  folder: string,
  bank: LabelledFeatures,
  queries: LabelledFeatures,
  io: Io,
): Promise<void> {
  const { writeSafetensors } = await import('../weights/index.js');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, DUMP);
  writeSafetensors(
    path,
    new Map([
      ['train.features', bank.features],
      ['train.labels', bank.labels],
      ['val.features', queries.features],
      ['val.labels', queries.labels],
    ]),
  );
  io.log(`Features written to ${path}.`);
}

async function load(folder: string): Promise<{ bank: LabelledFeatures; queries: LabelledFeatures }> {
  const { readSafetensors } = await import('../weights/index.js');
  const path = join(folder, DUMP);
  if (!existsSync(path))
    throw new UserError('usage', `There is no ${path}; write it with --dump_features ${folder}.`);
  const { tensors } = readSafetensors(path);
  const part = (name: string) => {
    const features = tensors.get(`${name}.features`);
    const labels = tensors.get(`${name}.labels`);
    if (features === undefined || labels === undefined)
      throw new UserError('data', `${path} lacks ${name}.features or ${name}.labels.`);
    return { features, labels };
  };
  return { bank: part('train'), queries: part('val') };
}
