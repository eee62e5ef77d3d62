/** `esvit preview`: a contact sheet of what the network would see, for the data and the flags of a run. */

import { basename } from 'node:path';
import { z } from 'zod';
import type { CropBatch, ImageSource } from '../data/index.js';
import type { Picture, SheetRow } from '../draw/index.js';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import type { StepBatch } from '../train/index.js';
import { trainAliases, trainOptions } from '../train/options.js';
import { defineCommand, type Io } from './command.js';

const group = 'Preview';

const previewOptions = trainOptions.extend({
  sheet: z.string().default('preview.png').meta({ description: 'The PNG file to write', group }),
  pictures: z
    .number()
    .int()
    .min(1)
    .default(6)
    .meta({ description: 'Pictures on the sheet, at most a batch', group }),
  epoch: z
    .number()
    .int()
    .min(0)
    .default(0)
    .meta({ description: 'The epoch whose first batch is shown', group }),
  side: z
    .number()
    .int()
    .min(16)
    .default(112)
    .meta({ description: 'Side of the largest crops on the sheet', group }),
});

export const preview = defineCommand({
  name: 'preview',
  summary: 'Draw a contact sheet of the crops that the network would see',
  examples: [
    'esvit preview --data_path pictures',
    'esvit preview --data_path pictures --aug-opt deit_aug --aa rand-m9-mstd0.5-inc1 --sheet deit.png',
    'esvit preview --data_path pictures --use_mixup True --mixup_mode elem --pictures 4',
  ],
  options: previewOptions,
  aliases: trainAliases,
  overrides: true,
  async run({ sheet, pictures, epoch, side, ...options }, io, { given, overrides }) {
    const { loadExperiment, measureFacts, readRequest, resolveTrainConfig, samplerFor } = await import(
      '../train/index.js'
    );
    const { openImages, layoutAsked } = await import('../data/index.js');
    const { contactSheet, figurePng } = await import('../draw/index.js');
    const { value: experiment } = loadExperiment(options.cfg, overrides);
    const request = readRequest(options, given, experiment);
    const { data_path: path } = request.options;
    if (path === undefined || path === '')
      throw new UserError('usage', '--data_path is missing; give the folder that holds the pictures.');
    const source = await openImages(path, {
      layout: layoutAsked(request.options),
      note: (line: string) => io.log(line),
    });
    try {
      const { config, notes } = resolveTrainConfig(request, experiment, {
        ...(await measureFacts(source)),
        imagesOfRank: samplerFor(request.options, source).length,
      });
      for (const note of notes) io.warn(note);
      const rows = await firstRows({ ...config, device: 'cpu' }, source, pictures, epoch, io);
      const columns = ['picture', ...columnNames(config.local_crops.length > 0)];
      const title = `Crops under ${config.aug_opt}, first batch of epoch ${epoch}`;
      const figure = await contactSheet(rows, { title, columns, side, stack: true, firstGap: 10 });
      writeFileAtomic(sheet, await figurePng(figure, { scale: 1 }));
      io.out(`${rows.length} pictures under ${config.aug_opt}: ${sheet}`);
      return { sheet, pictures: rows.length, aug_opt: config.aug_opt, views: rows[0].cells.length - 1 };
    } finally {
      source.close();
    }
  },
});

function columnNames(hasLocal: boolean): string[] {
  return ['global 1', 'global 2', ...(hasLocal ? ['local'] : [])];
}

/** The first pictures of an epoch's first batch: each as it is, then all views of the student. */
async function firstRows(
  config: Parameters<typeof import('../train/index.js').prepareBatch>[1],
  source: ImageSource,
  pictures: number,
  epoch: number,
  io: Io,
): Promise<SheetRow[]> {
  const { cropPlan, prepareBatch, releaseBatch, samplerFor } = await import('../train/index.js');
  const { CropLoader } = await import('../data/index.js');
  const loader = new CropLoader({
    source,
    plan: cropPlan(config),
    photometric: 'workers',
    seed: config.seed,
    sampler: samplerFor(config, source),
    batchSize: config.batch_size_per_gpu,
    workers: config.num_workers,
    prefetch: 0,
    onBadImage: ({ key, reason }) => io.warn(`Skipped ${key}: ${reason}.`),
  });
  try {
    for await (const batch of loader.batches(epoch)) {
      const prepared = prepareBatch(batch, config);
      try {
        const count = Math.min(pictures, config.batch_size_per_gpu);
        return await Promise.all(
          Array.from({ length: count }, (_, row) => sheetRow(source, batch, prepared, row)),
        );
      } finally {
        releaseBatch(prepared);
      }
    }
    throw new UserError('data', `There is no full batch of ${config.batch_size_per_gpu} pictures.`);
  } finally {
    await loader.close();
  }
}

/** How bytes become network input, turned round by `fromPlanar`. */
type Rgb = readonly [number, number, number];

async function sheetRow(
  source: ImageSource,
  batch: CropBatch,
  prepared: StepBatch,
  row: number,
): Promise<SheetRow> {
  const { decode, FILTER, IMAGENET_MEAN, IMAGENET_STD, resampleOne } = await import('../data/index.js');
  const { fromPlanar } = await import('../draw/index.js');
  const { scope } = await import('../torch/index.js');
  const [mean, std] = [IMAGENET_MEAN, IMAGENET_STD] as unknown as [Rgb, Rgb];
  const views: Picture[] = batch.groups.flatMap(({ size, views: count }, group) =>
    Array.from({ length: count }, (_, view) =>
      scope(() => {
        const crop = prepared.crops[group].select(0, view * prepared.size + row).contiguous();
        return fromPlanar(crop.toFloat32(), size, size, mean, std);
      }),
    ),
  );
  const index = batch.indices[row];
  const whole = await decode(await source.read(index));
  // The whole picture, as large as fits into the largest crop.
  const scale = Math.max(...views.map(({ width }) => width)) / Math.max(whole.width, whole.height);
  const [width, height] = [whole.width, whole.height].map((side) => Math.max(1, Math.round(side * scale)));
  const data = resampleOne(whole, {
    left: 0,
    top: 0,
    width: whole.width,
    height: whole.height,
    fullWidth: width,
    fullHeight: height,
    windowX: 0,
    windowY: 0,
    windowWidth: width,
    windowHeight: height,
    flip: false,
    filter: FILTER.bicubic,
  });
  const cells = [{ width, height, data }, ...views].map((picture) => ({ picture }));
  return { text: basename(source.key(index)), cells };
}
