/** A whole linear evaluation: epochs, validation, log and checkpoints in the original's order. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { epochOrder } from '../data/index.js';
import { UserError } from '../errors.js';
import { RunFolder } from '../run/index.js';
import { inferenceMode, tensor } from '../torch/index.js';
import type { LabelledTable } from './feature-store.js';
import { featureBatches } from './features.js';
import { batchesOf, type LabelledBatch, LinearProbes, MeanLosses, type Validation } from './linear.js';
import { bestOf, loadLinear, saveLinear } from './linear-checkpoint.js';
import { blockWidths, cachedTables, featureOptions, type LinearSubject, valTable } from './linear-data.js';

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
  /** asked after every batch: end here */
  stopped?: () => boolean;
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
  status: 'finished' | 'interrupted';
  epochs: number;
  /** by setting */
  probes: { blocks: number; lr: number; best: number }[];
  /** the number of the best setting */
  best: number;
}

const CHECKPOINT = 'checkpoint.pth.tar';

export async function runLinear(options: LinearRunOptions): Promise<LinearRunResult> {
  const { subject, lrs, epochs, numLabels, seed, augment, outputDir, note = () => {}, stopped } = options;
  const asked = subject.blocks.flatMap((blocks) => lrs.map((lr) => ({ blocks, lr })));
  const probes = new LinearProbes({
    settings: asked.map(({ blocks, lr }) => ({ blocks, lr: (lr * subject.batchSize) / 256 })),
    widths: blockWidths(subject),
    numLabels,
    epochs,
    seed,
    device: subject.device,
  });
  if (existsSync(join(outputDir, 'config.json')))
    throw new UserError(
      'usage',
      `${outputDir} is the folder of a training run, whose log would be written over. Choose another --output_dir.`,
    );
  const folder = RunFolder.open(outputDir);
  try {
    const checkpoint = join(outputDir, CHECKPOINT);
    let best = asked.map(() => 0);
    let start = 0;
    if (existsSync(checkpoint)) {
      ({ epoch: start, best } = loadLinear(checkpoint, probes, { epochs, subject: subject.name }));
      folder.rewind({ epoch: start, iteration: start });
      note(`Going on after ${start} of ${epochs} epochs, from ${checkpoint}.`);
    }
    const report = (status: LinearRunResult['status'], done: number): LinearRunResult => ({
      status,
      epochs: done,
      probes: asked.map((setting, i) => ({ ...setting, best: best[i] })),
      best: bestOf(best),
    });
    if (start >= epochs) return report('finished', epochs);

    const tables = augment ? undefined : await cachedTables(subject, join(outputDir, 'features'));
    if (tables?.fromCache === true) note(`Features read from ${join(outputDir, 'features')}.`);
    const val: LabelledTable = tables?.val ?? (await valTable(subject));
    for (let epoch = start; epoch < epochs; epoch++) {
      const batches =
        tables === undefined
          ? augmentedBatches(subject, { seed, epoch })
          : batchesOf(tables.train, subject.batchSize, orderOf(tables.train.labels.numel, seed, epoch));
      const losses = new MeanLosses(asked.length);
      for await (const batch of batches) {
        losses.add(finite(probes.step(batch, epoch), asked));
        if (stopped?.() === true) return report('interrupted', epoch);
        if (tables !== undefined) await breath();
      }
      const isValidated = epoch % options.valFreq === 0 || epoch === epochs - 1;
      const tests = isValidated ? await probes.validate(batchesOf(val, subject.batchSize)) : undefined;
      best = best.map((value, i) => Math.max(value, tests?.[i].acc1 ?? 0));
      const reports = asked.map(
        (setting, i): ProbeReport => ({
          ...setting,
          trainLoss: losses.means[i],
          ...(tests !== undefined && { test: tests[i] }),
          best: best[i],
        }),
      );
      log(folder, epoch, reports, bestOf(best), probes);
      folder.flush();
      saveLinear(checkpoint, probes, { epoch: epoch + 1, best, subject: subject.name }, epochs);
      options.onEpoch?.({ epoch, epochs, probes: reports });
    }
    return report('finished', epochs);
  } finally {
    probes.dispose();
    folder.close();
  }
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

/** Features of new random crops of all training pictures, in a new order. */
async function* augmentedBatches(
  subject: LinearSubject,
  random: { seed: number; epoch: number },
): AsyncGenerator<LabelledBatch> {
  const { backbone, train } = subject;
  const indices = orderOf(train.length, random.seed, random.epoch);
  const options = { ...featureOptions(subject, 'train'), indices, random };
  for await (const { features, labels } of featureBatches(backbone, train, options)) {
    const wanted = inferenceMode(() => tensor(BigInt64Array.from(labels, BigInt)));
    try {
      yield { features, labels: wanted };
    } finally {
      wanted.dispose();
    }
  }
}

/** Signals and other work get their turn. */
const breath = () => new Promise(setImmediate);
