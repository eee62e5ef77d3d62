/** `esvit eval-knn`: weighted k-NN accuracy of frozen features. */

import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { ImageSource } from '../data/index.js';
import { UserError } from '../errors.js';
import type { FeaturePair, FeatureTable, KnnResult } from '../eval/index.js';
import type { Company } from '../train/index.js';
import { defineCommand, type Io } from './command.js';
import { labelledOptions, openLabelled } from './labelled-data.js';
import { type LoadedNetwork, networkOptions } from './network.js';
import { evaluateAmongRanks, rankOptions } from './ranks.js';

const positive = () => z.number().int().min(1);

const options = z.strictObject({
  ...labelledOptions,
  ...networkOptions,
  nb_knn: z.array(positive()).default([10, 20, 100, 200]).describe('Numbers of neighbours that vote'),
  temperature: z.array(z.number().positive()).default([0.07]).describe('Temperatures of the votes'),
  use_cuda: z.boolean().default(true).describe('Compare features on the GPU, where there is one'),
  max_train: positive().optional().describe('Let only so many training pictures vote, evenly spread'),
  max_val: positive().optional().describe('Classify only so many pictures, evenly spread'),
  dump_features: z.string().optional().describe('Folder to write the features to'),
  dump_format: z
    .enum(['pth', 'npy', 'parquet', 'safetensors'])
    .default('pth')
    .describe("Format of --dump_features; pth is the original's trainfeat.pth and so on"),
  load_features: z
    .string()
    .optional()
    .describe('Folder of features written before, in any of these formats; no network is run'),
  raw_pixels: z.boolean().default(false).describe('Compare pixels instead of features, as a baseline'),
  ...rankOptions,
});

type Options = z.output<typeof options>;

export const evalKnn = defineCommand({
  name: 'eval-knn',
  summary: 'Weighted k-NN accuracy of frozen features',
  examples: [
    'esvit eval-knn --run runs/first --data_path pictures',
    'esvit eval-knn --run runs/first --data_path pictures --checkpoint_key student --nb_knn 1 5 20',
    'esvit eval-knn --arch swin_tiny --pretrained_weights swin_tiny.pth --data_path imagenet --dump_features features',
    'esvit eval-knn --load_features features --nb_knn 20 --temperature 0.04 0.07 0.1',
  ],
  options,
  overrides: true,
  aliases: { batch_size_per_gpu: 'batch_size', num_workers: 'workers' },
  ranks: true,
  async run(options, io, { overrides }) {
    return evaluateAmongRanks(io, options, overrides, (io, company) =>
      evaluate(options, io, overrides, company),
    );
  },
});

async function evaluate(
  options: Options,
  io: Io,
  overrides: readonly string[],
  company: Company,
): Promise<object> {
  const { dumpFeatures, knnAccuracy, loadFeatures } = await import('../eval/index.js');
  const { manualSeed, torchInfo } = await import('../torch/index.js');
  manualSeed(0); // what a network draws for itself is then the same each time, and on all ranks
  const { collectives, isFirst } = company;
  let pair: FeaturePair;
  if (options.load_features === undefined) {
    const computed = await compute(options, io, overrides, company);
    if (options.dump_features !== undefined && isFirst) {
      company.say(-1, 'writing the features');
      dumpFeatures(options.dump_features, options.dump_format, computed);
      io.log(`Features written to ${options.dump_features} (${options.dump_format}).`);
    }
    pair = computed;
  } else {
    const loaded = await loadFeatures(options.load_features);
    io.log(`Features read from ${options.load_features} (${loaded.format}).`);
    pair = loaded;
  }
  const { bank, queries } = pair;
  company.checkConfig({
    'features to compare': [bank, queries].map(({ labels }) => labels.numel),
  });
  const onGpu = options.use_cuda && options.device !== 'cpu' && torchInfo().cudaDevices > 0;
  company.say(-1, 'comparing features');
  const results = knnAccuracy(bank, queries, {
    ks: options.nb_knn,
    temperatures: options.temperature,
    collectives,
    ...(onGpu && { device: 'cuda' }),
  });
  if (options.dump_features !== undefined && isFirst) log(options.dump_features, results);
  io.out(`${queries.labels.numel} pictures classified by ${bank.labels.numel} labelled ones`);
  for (const { k, temperature, top1, top5 } of results)
    io.out(
      `${`k = ${k}`.padEnd(8)}${options.temperature.length > 1 ? `T = ${temperature}  ` : ''}top-1 ${top1.toFixed(2)}%  top-5 ${top5.toFixed(2)}%`,
    );
  return { results, bank: bank.labels.numel, queries: queries.labels.numel };
}

/** A line as the original's: accuracies by number of neighbours; several temperatures are told apart. */
function log(folder: string, results: readonly KnnResult[]): void {
  const several = new Set(results.map(({ temperature }) => temperature)).size > 1;
  const entries = results.map(({ k, temperature, top1, top5 }) => [
    several ? `${k}@${temperature}` : String(k),
    [top1, top5],
  ]);
  appendFileSync(join(folder, 'log.txt'), `${JSON.stringify(Object.fromEntries(entries))}\n`);
}

async function compute(
  options: Options,
  io: Io,
  overrides: readonly string[],
  company: Company,
): Promise<FeaturePair<FeatureTable>> {
  const { loadNetwork } = await import('./network.js');
  if (options.data_path === undefined)
    throw new UserError('usage', '--data_path is missing; give labelled data, or --load_features a folder.');
  const { train, val, close } = await openLabelled(options, io);
  try {
    for (const source of [train, val]) company.checkData(source);
    company.say(-1, 'receiving the network of rank 0');
    const network = options.raw_pixels
      ? undefined
      : await loadNetwork(options, io, overrides, company.collectives);
    const describe = (source: ImageSource, label: string, most: number | undefined) =>
      describePictures({ source, label, most }, options, network, company, io);
    const bank = await describe(train, 'training pictures', options.max_train);
    const queries = await describe(val, 'val pictures', options.max_val);
    return { bank, queries };
  } finally {
    close();
  }
}

async function describePictures(
  { source, label, most }: { source: ImageSource; label: string; most: number | undefined },
  options: Options,
  network: LoadedNetwork | undefined,
  company: Company,
  io: Io,
): Promise<FeatureTable> {
  const { evaluationPlan, extractSharedFeatures } = await import('../eval/index.js');
  const { evenly } = await import('../train/index.js');
  const count = Math.min(source.length, most ?? source.length);
  const bar = io.progress(count, { label, unit: 'images' });
  let batches = 0;
  company.say(0, 'describing pictures');
  const settings = {
    plan: evaluationPlan(options.image_size ?? network?.imageSize ?? 32),
    batchSize: options.batch_size,
    workers: options.workers,
    device: network?.device ?? 'cpu',
    ...(most !== undefined && { indices: evenly(source.length, most) }),
    onProgress: (done: number) => {
      bar.update(done);
      company.say(++batches, 'describing pictures');
    },
  };
  try {
    const table = await extractSharedFeatures(network?.backbone, source, settings, company.collectives);
    if (table.skipped > 0) io.warn(`${table.skipped} ${label} could not be read and were left out.`);
    return table;
  } finally {
    bar.stop();
  }
}
