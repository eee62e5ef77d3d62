/** `esvit eval-linear`: accuracy of a linear classifier on frozen features. */

import { statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.js';
import type { EpochReport, LinearSubject } from '../eval/index.js';
import type { Company } from '../train/index.js';
import { defineCommand, type Io } from './command.js';
import { type LabelledData, labelledOptions, openLabelled } from './labelled-data.js';
import { type LoadedNetwork, networkOptions } from './network.js';
import { ASKED_ELSEWHERE, evaluateAmongRanks, rankOptions } from './ranks.js';

const positive = () => z.number().int().min(1);

const options = z.strictObject({
  ...labelledOptions,
  ...networkOptions,
  batch_size: positive().default(128).describe('Pictures at a time, and of a step, of each process'),
  n_last_blocks: z
    .array(positive())
    .default([4])
    .describe('Features of so many last blocks side by side; several numbers are tried in one pass'),
  avgpool_patchtokens: z
    .boolean()
    .default(false)
    .describe('Add the mean over the regions of the last block, where there is a class token'),
  epochs: positive().default(100).describe('Epochs of training'),
  lr: z
    .array(z.number().positive())
    .default([0.001])
    .describe('Learning rate for a batch of 256, scaled with the batch; several are tried in one pass'),
  val_freq: positive().default(1).describe('Validate every so many epochs'),
  output_dir: z
    .string()
    .optional()
    .describe('Folder of log.txt and checkpoint.pth.tar (default: linear in --run, else the current one)'),
  num_labels: positive().optional().describe('Number of classes (default: those of the training split)'),
  augmentation: z
    .boolean()
    .default(true)
    .describe('Random crops and flips; without them features are computed once and kept on disk'),
  probe: z
    .enum(['sgd', 'logistic'])
    .default('sgd')
    .describe('Train by SGD, or solve logistic regression (no augmentation, no learning rate)'),
  logistic_c: z
    .array(z.number().positive())
    .default([1])
    .describe("Weights of the data against the penalty, as scikit-learn's C; several are tried"),
  seed: z.number().int().min(0).default(0).describe('Of the first weights, the crops and the order'),
  ...rankOptions,
});

type Options = z.output<typeof options>;

export const evalLinear = defineCommand({
  name: 'eval-linear',
  summary: 'Accuracy of a linear classifier on frozen features',
  examples: [
    'esvit eval-linear --run runs/first --data_path pictures',
    'esvit eval-linear --run runs/first --data_path pictures --augmentation False --lr 0.01 0.1 1 --n_last_blocks 1 4',
    'esvit eval-linear --run runs/first --data_path pictures --probe logistic --logistic_c 0.01 0.1 1',
    'esvit eval-linear --arch swin_tiny --pretrained_weights swin_tiny.pth --data_path imagenet --output_dir linear',
  ],
  options,
  overrides: true,
  aliases: { batch_size_per_gpu: 'batch_size', num_workers: 'workers' },
  ranks: true,
  async run(options, io, { overrides }) {
    return evaluateAmongRanks(
      io,
      options,
      overrides,
      (io, company) => evaluate(options, io, overrides, company),
      join(options.output_dir ?? 'runs', 'logs'),
    );
  },
});

async function evaluate(
  options: Options,
  io: Io,
  overrides: readonly string[],
  company: Company,
): Promise<object> {
  const { manualSeed } = await import('../torch/index.js');
  const { loadNetwork } = await import('./network.js');
  const data = await openLabelled(options, io);
  try {
    for (const source of [data.train, data.val]) company.checkData(source);
    const numLabels = labelsOf(options, data);
    manualSeed(options.seed); // a network without weights is then the same one when the run goes on
    company.say(-1, 'receiving the network of rank 0');
    const network = await loadNetwork(options, io, overrides, company.collectives);
    company.say(0, 'describing pictures');
    const subject = await subjectOf(options, data, network, io);
    try {
      return options.probe === 'sgd'
        ? await bySgd(options, subject, numLabels, company, io)
        : await byLogistic(options, subject, numLabels, company, io);
    } finally {
      subject.stop();
    }
  } finally {
    data.close();
  }
}

/** Said by ranks whose work is done when the features are there. */
const HELPED = 'The features are with rank 0, which does the rest.';

type Subject = LinearSubject & { stop(): void };

function labelsOf({ num_labels: asked }: Options, { train }: LabelledData): number {
  const classes = train.classes.length;
  if (asked !== undefined && asked < classes)
    throw new UserError('usage', `--num_labels ${asked}: the training pictures have ${classes} classes.`);
  return asked ?? classes;
}

async function subjectOf(
  options: Options,
  { train, val }: LabelledData,
  network: LoadedNetwork,
  io: Io,
): Promise<Subject> {
  const { evaluationPlan } = await import('../eval/index.js');
  const { backbone, device, weights } = network;
  const imageSize = options.image_size ?? network.imageSize;
  const sources = { train, val };
  let shown: { split: string; bar: ReturnType<Io['progress']> } | undefined;
  const stop = () => {
    shown?.bar.stop();
    shown = undefined;
  };
  return {
    backbone,
    train,
    val,
    plan: evaluationPlan(imageSize),
    batchSize: options.batch_size,
    workers: options.workers,
    device,
    blocks: [...new Set(options.n_last_blocks)],
    avgpoolPatchTokens: options.avgpool_patchtokens,
    name: [
      network.description,
      weights === undefined
        ? 'untrained'
        : `${resolve(weights)} (${stamp(weights)}) ${options.checkpoint_key ?? 'usual part'}`,
      `${train.length} + ${val.length} pictures of ${resolve(options.data_path ?? '')} at ${imageSize}`,
      ...(options.avgpool_patchtokens ? ['with mean regions'] : []),
    ].join(', '),
    onProgress: (split, done) => {
      const { length } = sources[split];
      if (shown?.split !== split) {
        stop();
        shown = { split, bar: io.progress(length, { label: `${split} pictures`, unit: 'images' }) };
      }
      shown.bar.update(Math.min(done, length));
      if (done >= length) stop();
    },
    stop,
  };
}

/** Tells a file from a later one at the same place. */
function stamp(path: string): string {
  const { size, mtimeMs } = statSync(path);
  return `${size} bytes of ${new Date(mtimeMs).toISOString()}`;
}

function outputDir(options: Options): string {
  return options.output_dir ?? (options.run === undefined ? '.' : join(options.run, 'linear'));
}

async function bySgd(
  options: Options,
  subject: Subject,
  numLabels: number,
  company: Company,
  io: Io,
): Promise<object> {
  const { runLinear } = await import('../eval/index.js');
  let interrupted = false;
  const release = io.onInterrupt(() => {
    interrupted = true;
  });
  try {
    const { status, epochs, probes, best } = await runLinear({
      subject,
      lrs: [...new Set(options.lr)],
      epochs: options.epochs,
      valFreq: options.val_freq,
      numLabels,
      seed: options.seed,
      augment: options.augmentation,
      outputDir: outputDir(options),
      note: (line) => io.log(line),
      stopped: () => interrupted,
      collectives: company.collectives,
      onStep: (steps) => company.say(steps, 'training'),
      onEpoch: (report) => {
        subject.stop();
        tell(report, io);
      },
    });
    if (status === 'helped') {
      io.log(HELPED);
      return { status };
    }
    if (status === 'interrupted') {
      if (!interrupted) io.fail(ASKED_ELSEWHERE); // another rank was asked to end
      io.out(`Ended after ${epochs} of ${options.epochs} epochs; the same command goes on from there.`);
    } else {
      if (probes.length > 1)
        for (const { blocks, lr, best: acc1 } of probes)
          io.out(`  ${blocks} blocks, lr ${lr}: top-1 ${acc1.toFixed(2)}%`);
      const { blocks, lr, best: acc1 } = probes[best];
      io.out(`Best top-1 accuracy ${acc1.toFixed(2)}% (${blocks} blocks, lr ${lr})`);
    }
    return { status, epochs, best: probes[best], probes };
  } finally {
    release();
  }
}

function tell({ epoch, epochs, probes }: EpochReport, io: Io): void {
  const best = probes.reduce((a, b) => (b.best > a.best ? b : a));
  const test =
    best.test === undefined
      ? ''
      : `, top-1 ${best.test.acc1.toFixed(2)}%, top-5 ${best.test.acc5.toFixed(2)}%`;
  const which = probes.length > 1 ? ` (${best.blocks} blocks, lr ${best.lr})` : '';
  io.log(`epoch ${epoch + 1}/${epochs}: loss ${best.trainLoss.toFixed(4)}${test}${which}`);
}

async function byLogistic(
  options: Options,
  subject: Subject,
  numLabels: number,
  company: Company,
  io: Io,
): Promise<object> {
  const { blockWidths, cachedTables, fitLogistic, logisticAccuracy } = await import('../eval/index.js');
  const widths = blockWidths(subject);
  const tables = await cachedTables(subject, join(outputDir(options), 'features'), company.collectives);
  subject.stop();
  if (tables === undefined) {
    io.log(HELPED);
    return { status: 'helped' };
  }
  company.say(0, 'solving');
  const { train, val } = tables;
  const results = [];
  for (const blocks of subject.blocks) {
    const width = widths.get(blocks) ?? 0;
    const columns = ({ features, labels }: typeof train) => ({
      features: features.narrow(1, features.shape[1] - width, width),
      labels,
    });
    let start: ReturnType<typeof fitLogistic> | undefined;
    for (const cost of [...new Set(options.logistic_c)].sort((a, b) => a - b)) {
      start = fitLogistic(columns(train), { numLabels, cost, ...(start !== undefined && { start }) });
      const { acc1, acc5 } = logisticAccuracy(start, columns(val));
      const { iterations, converged } = start;
      if (!converged) io.warn(`C = ${cost}: stopped after ${iterations} iterations before the optimum.`);
      io.out(`${blocks} blocks, C = ${cost}: top-1 ${acc1.toFixed(2)}%  top-5 ${acc5.toFixed(2)}%`);
      results.push({ blocks, c: cost, acc1, acc5, iterations, converged });
    }
  }
  const best = results.reduce((a, b) => (b.acc1 > a.acc1 ? b : a));
  if (results.length > 1)
    io.out(`Best top-1 accuracy ${best.acc1.toFixed(2)}% (${best.blocks} blocks, C = ${best.c})`);
  return { best, results };
}
