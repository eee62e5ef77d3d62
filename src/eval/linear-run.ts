/** A whole linear evaluation: epochs, validation, log and checkpoints in the original's order. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { epochOrder } from '../data/index.js';
import { alone, type Collectives, sharedValue } from '../dist/index.js';
import { UserError } from '../errors.js';
import { RunFolder } from '../run/index.js';
import { inferenceMode, tensor } from '../torch/index.js';
import type { LabelledTable } from './feature-store.js';
import { featureBatches } from './features.js';
import {
  batchesOf,
  type LabelledBatch,
  LinearProbes,
  MeanLosses,
  partsOf,
  type Validation,
} from './linear.js';
import { bestOf, type LinearProgress, loadLinear, type StepSize, saveLinear } from './linear-checkpoint.js';
import { blockWidths, cachedTables, featureOptions, type LinearSubject, valTable } from './linear-data.js';
import { ProbeExchange } from './probe-exchange.js';
import { shareOf } from './shared-batches.js';

export interface LinearRunOptions {
  subject: LinearSubject;
  /** learning rates for a batch of 256; each is tried with each number of blocks */
  lrs: readonly number[];
  epochs: number;
  /** validate every so many epochs, and after the last */
  valFreq: number;
  numLabels: number;
  seed: number;
  /** random crops, anew in each epoch; else centre crops, whose features are computed once and kept */
  augment: boolean;
  outputDir: string;
  onEpoch?: (report: EpochReport) => void;
  /** told where features come from and what is gone on with */
  note?: (line: string) => void;
  /** asked with every batch: end here */
  stopped?: () => boolean;
  /** told after every step how many there were */
  onStep?: (steps: number) => void;
  /**
   * Ranks that evaluate together: with augmentation each takes `batchSize` pictures of a step; else they find the
   * features together, and rank 0 does the rest.
   */
  collectives?: Collectives;
}

/** What is known of one classifier after an epoch. */
export interface ProbeReport {
  blocks: number;
  /** as it was asked for, for a batch of 256 */
  lr: number;
  trainLoss: number;
  /** absent in epochs without validation */
  test?: Validation;
  /** highest top-1 so far, in percent */
  best: number;
}

export interface EpochReport {
  epoch: number;
  epochs: number;
  probes: ProbeReport[];
}

export interface LinearRunResult {
  /** 'helped': this rank has found its part of the features, and rank 0 goes on with them */
  status: 'finished' | 'interrupted' | 'helped';
  epochs: number;
  /** by setting */
  probes: { blocks: number; lr: number; best: number }[];
  /** the number of the best setting */
  best: number;
}

const CHECKPOINT = 'checkpoint.pth.tar';

export async function runLinear(options: LinearRunOptions): Promise<LinearRunResult> {
  const { subject, lrs, epochs, numLabels, seed, augment, outputDir, note = () => {}, stopped } = options;
  const { collectives = alone } = options;
  const isFirst = collectives.rank === 0;
  const { batchSize } = subject;
  const size: StepSize = { batchSize, worldSize: collectives.worldSize };
  const stepSize = batchSize * size.worldSize;
  const asked = subject.blocks.flatMap((blocks) => lrs.map((lr) => ({ blocks, lr })));
  // Features that are there once and for all are few enough for rank 0.
  const trainers = augment ? collectives : alone;
  const exchange =
    trainers.worldSize > 1 ? new ProbeExchange(trainers, () => stopped?.() === true) : undefined;
  const probes = new LinearProbes({
    settings: asked.map(({ blocks, lr }) => ({ blocks, lr: (lr * stepSize) / 256 })),
    widths: blockWidths(subject),
    numLabels,
    epochs,
    seed,
    device: subject.device,
    ...(exchange !== undefined && { exchange }),
  });
  const folder = isFirst ? openFolder(outputDir) : undefined;
  try {
    const checkpoint = join(outputDir, CHECKPOINT);
    const begun = sharedValue(collectives, (): Pick<LinearProgress, 'epoch' | 'best'> => {
      if (!existsSync(checkpoint)) return { epoch: 0, best: asked.map(() => 0) };
      const found = loadLinear(checkpoint, probes, { epochs, subject: subject.name, stepSize: size });
      folder?.rewind({ epoch: found.epoch, iteration: found.epoch });
      note(`Going on after ${found.epoch} of ${epochs} epochs, from ${checkpoint}.`);
      noteSize(found.stepSize, size, note);
      return found;
    });
    probes.spread();
    let best = begun.best;
    const start = begun.epoch;
    const report = (status: LinearRunResult['status'], done: number): LinearRunResult => ({
      status,
      epochs: done,
      probes: asked.map((setting, i) => ({ ...setting, best: best[i] })),
      best: bestOf(best),
    });
    if (start >= epochs) return report('finished', epochs);

    const cache = join(outputDir, 'features');
    const tables = augment ? undefined : await cachedTables(subject, cache, collectives);
    if (!augment && tables === undefined) return report('helped', start);
    if (tables?.fromCache === true) note(`Features read from ${cache}.`);
    const val: LabelledTable = tables?.val ?? (await valTable(subject, collectives));
    let steps = 0;
    for (let epoch = start; epoch < epochs; epoch++) {
      const batches =
        tables === undefined
          ? augmentedBatches(subject, { seed, epoch }, trainers)
          : batchesOf(tables.train, stepSize, orderOf(tables.train.labels.numel, seed, epoch));
      const losses = new MeanLosses(asked.length);
      for await (const batch of batches) {
        losses.add(finite(probes.step(batch, epoch), asked));
        options.onStep?.(++steps);
        if (exchange?.isAskedToStop ?? stopped?.() === true) return report('interrupted', epoch);
        if (tables !== undefined) await breath();
      }
      const isValidated = epoch % options.valFreq === 0 || epoch === epochs - 1;
      const parts = exchange === undefined ? batchesOf(val, stepSize) : partsOf(val, batchSize, trainers);
      const tests = isValidated ? await probes.validate(parts) : undefined;
      best = best.map((value, i) => Math.max(value, tests?.[i].acc1 ?? 0));
      const reports = asked.map(
        (setting, i): ProbeReport => ({
          ...setting,
          trainLoss: losses.means[i],
          ...(tests !== undefined && { test: tests[i] }),
          best: best[i],
        }),
      );
      if (folder !== undefined) {
        log(folder, epoch, reports, bestOf(best), probes);
        folder.flush();
        const progress = { epoch: epoch + 1, best, subject: subject.name, stepSize: size };
        saveLinear(checkpoint, probes, progress, epochs);
      }
      options.onEpoch?.({ epoch, epochs, probes: reports });
    }
    return report('finished', epochs);
  } finally {
    probes.dispose();
    folder?.close();
  }
}

function openFolder(path: string): RunFolder {
  if (existsSync(join(path, 'config.json')))
    throw new UserError(
      'usage',
      `${path} is the folder of a training run, whose log would be written over. Choose another --output_dir.`,
    );
  return RunFolder.open(path);
}

function noteSize(before: StepSize | undefined, now: StepSize, note: (line: string) => void): void {
  const inWords = ({ batchSize, worldSize }: StepSize) =>
    `${batchSize * worldSize} pictures (${worldSize} x ${batchSize})`;
  if (before !== undefined && before.worldSize !== now.worldSize)
    note(`A step was of ${inWords(before)}, now it is of ${inWords(now)}; the learning rate follows.`);
}

/** One line to log.txt with the original's keys, of the best classifier; each one's own line to metrics.jsonl. */
function log(
  folder: RunFolder,
  epoch: number,
  reports: readonly ProbeReport[],
  best: number,
  probes: LinearProbes,
): void {
  const line = (i: number) => {
    const { trainLoss, test } = reports[i];
    return {
      train_lr: probes.rate(i, epoch),
      train_loss: trainLoss,
      epoch,
      ...(test !== undefined && { test_loss: test.loss, test_acc1: test.acc1, test_acc5: test.acc5 }),
    };
  };
  folder.log(line(best));
  if (reports.length > 1)
    for (const [i, { blocks, lr }] of reports.entries())
      folder.metric({ iteration: epoch, n_last_blocks: blocks, lr, ...line(i) });
}

/** One learning rate that is too high spoils nothing for the others; if all are, there is nothing left to do. */
function finite(losses: number[], asked: readonly { lr: number }[]): number[] {
  if (!losses.some(Number.isFinite))
    throw new UserError(
      'training',
      `the loss is no longer finite at --lr ${[...new Set(asked.map(({ lr }) => lr))].join(' ')}: too high for these features. Lower it.`,
    );
  return losses;
}

const orderOf = (count: number, seed: number, epoch: number) =>
  epochOrder(count, { seed, epoch, rank: 0, world: 1 });

/**
 * Features of new random crops of all training pictures, in a new order; of several ranks each takes its part of every
 * step, or undefined where nothing is left for it in the last one.
 */
async function* augmentedBatches(
  subject: LinearSubject,
  random: { seed: number; epoch: number },
  collectives: Collectives,
): AsyncGenerator<LabelledBatch | undefined> {
  const { backbone, train, batchSize } = subject;
  const order = orderOf(train.length, random.seed, random.epoch);
  const indices = shareOf(order, batchSize, collectives);
  const options = { ...featureOptions(subject, 'train', collectives.worldSize), indices, random };
  const steps = Math.ceil(order.length / (batchSize * collectives.worldSize));
  let done = 0;
  if (indices.length > 0)
    for await (const { features, labels } of featureBatches(backbone, train, options)) {
      const wanted = inferenceMode(() => tensor(BigInt64Array.from(labels, BigInt)));
      try {
        yield { features, labels: wanted };
      } finally {
        wanted.dispose();
      }
      done++;
    }
  for (; done < steps; done++) yield undefined;
}

/** Signals and other work get their turn. */
const breath = () => new Promise(setImmediate);
