/** `esvit train`: pre-training on pictures without labels. */

import { join } from 'node:path';
import type { DeepReadonly } from '../config/index.js';
import type { ImageSource } from '../data/index.js';
import type { World } from '../dist/index.js';
import { UserError } from '../errors.js';
import type { RunFolder as Folder } from '../run/index.js';
import type { Experiment, KnnSources, PretrainResult, Request, Resolution } from '../train/index.js';
import { trainAliases, trainOptions } from '../train/options.js';
import { defineCommand, type Io } from './command.js';
import { ASKED_ELSEWHERE, amongRanks } from './ranks.js';
import { TrainingWatch } from './training-watch.js';

export const train = defineCommand({
  name: 'train',
  summary: 'Pre-train a vision transformer on pictures without labels',
  examples: [
    'esvit train --data_path pictures',
    'esvit train --data_path pictures --epochs 20 --output_dir runs/first',
    'esvit train --cfg configs/swin/swin_tiny_patch4_window7_224.yaml --data_path imagenet/train --use_dense_prediction True MODEL.SPEC.DROP_PATH_RATE 0.2',
  ],
  options: trainOptions,
  aliases: trainAliases,
  overrides: true,
  ranks: true,
  async run(options, io, { given, overrides }) {
    const { loadExperiment, readRequest } = await import('../train/index.js');
    const { value: experiment, unused } = loadExperiment(options.cfg, overrides);
    const request = readRequest(options, given, experiment);
    const { dist_timeout: timeoutSeconds, device, output_dir: output } = request.options;
    const logDir = join(output ?? 'runs', 'logs');
    return amongRanks(io, { timeoutSeconds, device, logDir }, async (io, world) => {
      if (unused.length > 0) io.log(`Not read by pre-training: ${unused.join(', ')}.`);
      return runTraining(request, experiment, io, world);
    });
  },
});

async function runTraining(
  { options, explicit }: Request,
  experiment: DeepReadonly<Experiment>,
  io: Io,
  world: World | undefined,
): Promise<object> {
  const { Company, howToBegin, isDone, measureFacts, pretrain, resolveTrainConfig, samplerFor, shareFacts } =
    await import('../train/index.js');
  const { isStartedAnew } = await import('../dist/index.js');
  const { openImages, imageLayout, layoutAsked } = await import('../data/index.js');
  const { RunFolder } = await import('../run/index.js');

  const { data_path: path } = options;
  if (path === undefined || path === '')
    throw new UserError('usage', '--data_path is missing; give the folder that holds the pictures.');
  const layout = { layout: layoutAsked(options), note: (line: string) => io.log(line) };
  const source = await openImages(path, layout);
  const opened: ImageSource[] = [source];
  let folder: Folder | undefined;
  try {
    const company = new Company(world);
    company.checkData(source);
    // A launcher that starts a run anew means to go on with it, whatever was asked for in the beginning.
    const isRestart = company.total(Number(isStartedAnew(process.env))) > 0;
    const resume = isRestart && options.resume === 'never' ? 'auto' : options.resume;
    const request = { options: { ...options, resume }, explicit };
    const facts = await measureFacts(source);
    const ranks = world && {
      rank: world.rank,
      world: world.worldSize,
      ranksPerNode: world.placement.localWorldSize,
    };
    const resolution = resolveTrainConfig(request, experiment, {
      ...(world === undefined ? facts : shareFacts(facts, world)),
      imagesOfRank: samplerFor(options, source, ranks).length,
    });
    const { config } = resolution;
    let isResumed = true;
    if (company.isFirst) folder = RunFolder.open(config.output_dir);
    if (isRestart && company.decide(() => folder !== undefined && isDone(folder, config))) {
      io.out(
        `The run in ${config.output_dir} was finished before it was started anew; nothing is left to do.`,
      );
      return { ...folder?.readSummary(), status: 'finished', output_dir: config.output_dir };
    }
    if (folder !== undefined) {
      const beginning = howToBegin(folder, config);
      if (beginning.from === 'folder') io.log(`Going on with the run in ${folder.path}.`);
      for (const line of beginning.notes) io.log(line);
      isResumed = beginning.from !== 'nothing';
    }
    describe(resolution, source, isResumed, io);

    let knn: KnnSources | undefined;
    if (config.knn_every > 0) {
      const hasVal = imageLayout(path, layout.layout).splits.includes('val');
      const queries = hasVal
        ? await openImages(path, { ...layout, split: 'val', classes: source.classes })
        : source;
      if (queries !== source) opened.push(queries);
      else
        io.warn('There is no val split: k-NN classifies training pictures, each with itself as a neighbour.');
      knn = { bank: source, queries };
    }
    const watch = new TrainingWatch(io);
    const release = io.onInterrupt((signal) => watch.interrupt(signal));
    try {
      const result = await pretrain(config, source, folder, watch.events, knn, world);
      watch.stop();
      conclude(result, config.output_dir, io);
      if (result.askedElsewhere) io.fail(ASKED_ELSEWHERE);
      return { ...result, output_dir: config.output_dir };
    } finally {
      watch.stop();
      release();
    }
  } finally {
    folder?.close();
    for (const one of opened) one.close();
  }
}

/** The settings that were chosen, with their reasons. */
function describe(
  { config, reasons, notes }: Resolution,
  source: ImageSource,
  isResumed: boolean,
  io: Io,
): void {
  io.log(`${source.length} pictures: ${source.description}.`);
  if (!isResumed) {
    const rows = Object.entries(reasons).map(([name, reason]) => {
      const value = name === 'arch' ? config.model : config[name as keyof typeof config];
      return [name, typeof value === 'object' ? JSON.stringify(value) : String(value), reason];
    });
    const widths = [0, 1].map((column) =>
      Math.min(40, Math.max(0, ...rows.map((row) => row[column].length))),
    );
    for (const [name, value, reason] of rows)
      io.log(`  ${name.padEnd(widths[0])}  ${value.padEnd(widths[1])}  (${reason})`);
  }
  io.log(
    `Device ${config.device}, ${config.precision}, ${config.threads} threads, ${config.num_workers} loading; run folder ${config.output_dir}`,
  );
  for (const note of notes) io.warn(note);
}

function conclude(result: PretrainResult, path: string, io: Io): void {
  const speed = `${result.imagesPerSecond.toFixed(1)} images/s`;
  for (const { k, top1 } of result.knn ?? [])
    io.out(`k-NN accuracy of the teacher, k = ${k}: ${top1.toFixed(2)}%`);
  if (result.badImages > 0)
    io.warn(`${result.badImages} pictures could not be read; ${join(path, 'bad-images.txt')} names them.`);
  const checkpoint = join(path, 'checkpoint.pth');
  io.out(
    result.status === 'finished'
      ? `Finished after ${result.steps} iterations (${speed}); the weights are in ${checkpoint}.`
      : `Ended after ${result.steps} iterations, since ${result.reason} (${speed}); the same command goes on from ${checkpoint}.`,
  );
}
