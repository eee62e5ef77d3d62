/** `esvit models`: the published checkpoints, and whether a file does what was published of it. */

import { z } from 'zod';
import { didYouMean, UserError } from '../errors.js';
import type { PublishedModel } from '../models/index.js';
import { defineCommand, type Io } from './command.js';

const options = z.strictObject({
  action: z.enum(['list', 'verify']).default('list').describe("'list', or 'verify' with the name of a model"),
  name: z.string().optional().describe('Model to verify, as the list names it'),
  data_path: z.string().optional().describe('ImageNet-1K with its train and val splits, to verify with'),
  pretrained_weights: z
    .string()
    .optional()
    .describe('File of the model (else it is looked for in --weights_base)'),
  checkpoint_key: z.string().optional().describe('Part of the file (automatic: teacher, student, ...)'),
  weights_base: z
    .string()
    .optional()
    .describe('Folder or https address where files of models lie (else: ESVIT_WEIGHTS)'),
  nb_knn: z
    .array(z.number().int().min(1))
    .default([10, 20, 100, 200])
    .describe('Numbers of neighbours that vote'),
  max_train: z.number().int().min(1).optional().describe('Let only so many training pictures vote'),
  max_val: z.number().int().min(1).optional().describe('Classify only so many pictures'),
  batch_size: z.number().int().min(1).default(64).describe('Pictures at a time'),
  workers: z.number().int().min(0).default(1).describe('Threads that decode'),
  device: z.enum(['auto', 'cpu', 'cuda']).default('auto').describe('Where to compute'),
  threads: z.number().int().min(1).optional().describe('Threads that compute (automatic: all cores)'),
});

type Options = z.output<typeof options>;

export const models = defineCommand({
  name: 'models',
  summary: 'List the published checkpoints, and verify a file of one of them',
  examples: [
    'esvit models',
    'esvit models verify esvit_swin_tiny_w7 --pretrained_weights checkpoint_best.pth --data_path imagenet',
    'esvit models verify esvit_swin_tiny_w14 --weights_base weights --data_path imagenet',
  ],
  options,
  positionals: ['action', 'name'],
  async run(options, io) {
    const { publishedModels } = await import('../models/index.js');
    if (options.action === 'verify') return await verify(options, publishedModels, io);
    list(publishedModels, io);
    return { models: publishedModels };
  },
});

function list(known: readonly PublishedModel[], io: Io): void {
  const header = ['name', 'params', 'tasks', 'pre-training', 'linear', 'k-NN', 'recipe'];
  const rows = known.map(({ name, parameters, tasks, pretraining, linear, knn, recipe, batchSize }) => [
    ...[name, `${parameters}M`, tasks, pretraining, `${linear.toFixed(1)}%`, `${knn.toFixed(1)}%`],
    `${recipe}${batchSize === undefined ? '' : `, batch ${batchSize}`}`,
  ]);
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => row[i].length)));
  for (const row of [header, ...rows])
    io.out(
      row
        .map((word, i) => word.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    );
  io.out('');
  io.out('Accuracies are top-1 on ImageNet-1K as published (arXiv 2106.09785).');
  io.out(
    'The links that the authors published are dead. Where somebody has the files, name each NAME.pth and set',
  );
  io.out(
    '--weights_base (or ESVIT_WEIGHTS) to their folder or https address; --pretrained_weights then takes NAME.',
  );
}

async function verify(options: Options, known: readonly PublishedModel[], io: Io): Promise<object> {
  const { name, action: _, ...rest } = options;
  const names = known.map((model) => model.name);
  const model = known.find((one) => one.name === name);
  if (model === undefined)
    throw new UserError(
      'usage',
      name === undefined
        ? `Which model? The names are ${names.join(', ')}.`
        : `There is no published model '${name}'.${didYouMean(name, names)} esvit models lists them.`,
    );
  const { evalKnn } = await import('./eval-knn.js');
  const { packageFile } = await import('./network.js');
  const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
  const settings = evalKnn.options.parse({
    ...given,
    cfg: packageFile(model.cfg),
    pretrained_weights: options.pretrained_weights ?? model.name,
  });
  const { results } = (await evalKnn.run(settings, io, { given: new Set(), overrides: [], argv: [] })) as {
    results: { k: number; top1: number }[];
  };
  const best = results.reduce((a, b) => (b.top1 > a.top1 ? b : a));
  const difference = best.top1 - model.knn;
  io.out(
    `${model.name}: k-NN top-1 ${best.top1.toFixed(2)}% here (k = ${best.k}), published ${model.knn.toFixed(1)}% ` +
      `on ImageNet-1K; ${difference >= 0 ? '+' : ''}${difference.toFixed(2)} points.`,
  );
  if (options.max_train !== undefined || options.max_val !== undefined)
    io.out('Only a part of the pictures was used, so the two figures cannot be compared.');
  return { name: model.name, published: model.knn, measured: best.top1, k: best.k, results };
}
