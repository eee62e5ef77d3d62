/** Golden kind `linear`: softmax regression on stored features by the original's training and validation loops. */

import { join } from 'node:path';
import { z } from 'zod';
import { batchesOf, LinearProbes, loadLinear, MeanLosses } from '../eval/index.js';
import type { Tensor } from '../torch/index.js';
import {
  type Check,
  compareNumbers,
  compareTensors,
  type GoldenCase,
  tensorsOf,
  toleranceOf,
} from './case.js';

const schema = z.looseObject({
  config: z.looseObject({
    num_labels: z.number(),
    dim: z.number(),
    batch_size: z.number(),
    world_size: z.number().default(1),
    lr: z.number(),
    epochs: z.number(),
    iters_per_epoch: z.number(),
    test_batch: z.number(),
    momentum: z.number().default(0.9),
    weight_decay: z.number().default(0),
  }),
  compare: z.record(z.string(), z.looseObject({ atol: z.number() })),
});

/** Columns of `epoch_stats`. */
const COLUMNS = ['train_loss', 'test_loss', 'acc1', 'acc5'] as const;

export async function* runLinear(golden: GoldenCase, folder: string): AsyncGenerator<Check> {
  const { config, compare } = schema.parse(golden);
  const stored = tensorsOf(golden, folder);
  const tolerance = (name: string) => toleranceOf(compare, name)?.atol ?? 0;
  const named = (name: string) => stored.get(name) as Tensor;
  const rate = (config.lr * config.batch_size * config.world_size) / 256;
  const make = () =>
    new LinearProbes({
      settings: [{ blocks: 1, lr: rate }],
      widths: new Map([[1, config.dim]]),
      numLabels: config.num_labels,
      epochs: config.epochs,
      momentum: config.momentum,
      weightDecay: config.weight_decay,
      device: golden.device,
    });

  const probes = make();
  const state = probes.state(0);
  state.weight.copy_(named('init.weight'));
  state.bias.copy_(named('init.bias'));
  const training = { features: named('features'), labels: named('labels') };
  const testing = { features: named('test_features'), labels: named('test_labels') };
  const losses: number[] = [];
  const stats: Record<(typeof COLUMNS)[number], number[]> = {
    train_loss: [],
    test_loss: [],
    acc1: [],
    acc5: [],
  };
  for (let epoch = 0; epoch < config.epochs; epoch++) {
    const mean = new MeanLosses(1);
    let iteration = 0;
    for (const batch of batchesOf(training, config.batch_size)) {
      if (iteration++ === config.iters_per_epoch) break;
      const found = probes.step(batch, epoch);
      losses.push(...found);
      mean.add(found);
    }
    const [{ loss, acc1, acc5 }] = await probes.validate(batchesOf(testing, config.test_batch));
    stats.train_loss.push(mean.means[0]);
    stats.test_loss.push(loss);
    stats.acc1.push(acc1);
    stats.acc5.push(acc5);
  }

  const numbers = (name: string) => named(name).toArray() as Float64Array;
  yield compareNumbers('losses', losses, numbers('losses'), tolerance('losses'));
  const rates = Array.from({ length: config.epochs }, (_, epoch) => probes.rate(0, epoch));
  yield compareNumbers('lrs', rates, numbers('lrs'), tolerance('lrs'));
  yield compareTensors('final.weight', state.weight, stored.get('final.weight'), tolerance('final.weight'));
  yield compareTensors('final.bias', state.bias, stored.get('final.bias'), tolerance('final.bias'));
  yield compareTensors(
    'momentum.weight',
    state.momentumWeight,
    stored.get('momentum.weight'),
    tolerance('momentum.weight'),
  );
  yield compareTensors(
    'momentum.bias',
    state.momentumBias,
    stored.get('momentum.bias'),
    tolerance('momentum.bias'),
  );
  const table = numbers('epoch_stats');
  for (const [column, name] of COLUMNS.entries()) {
    const key = `epoch_stats[:, ${column}] ${name}`;
    const expected = Array.from(
      { length: table.length / COLUMNS.length },
      (_, row) => table[row * COLUMNS.length + column],
    );
    yield compareNumbers(key, stats[name], expected, tolerance(key));
  }

  const checkpoint = golden.files.find((file) => /\.pth(\.tar)?$/.test(file));
  if (checkpoint !== undefined) {
    const restored = make();
    const options = { epochs: config.epochs, subject: golden.name };
    const { epoch, best } = loadLinear(join(folder, checkpoint), restored, options);
    const own = restored.state(0);
    yield compareNumbers('checkpoint.epoch', [epoch], [config.epochs], 0);
    yield compareNumbers(
      'checkpoint.best_acc',
      best,
      [Math.max(...stats.acc1)],
      tolerance('epoch_stats[:, 2] acc1'),
    );
    yield compareTensors('checkpoint.weight', own.weight, stored.get('final.weight'), 0);
    yield compareTensors('checkpoint.bias', own.bias, stored.get('final.bias'), 0);
    yield compareTensors('checkpoint.momentum.weight', own.momentumWeight, stored.get('momentum.weight'), 0);
    restored.dispose();
  }
  probes.dispose();
}
