/** `esvit data`: what a set of pictures is like, and packing it for fast reading. */

import { cpus } from 'node:os';
import { resolve } from 'node:path';
import { z } from 'zod';
import type { CheckReport, ImageSource, LayoutKind, Split } from '../data/index.js';
import { UserError } from '../errors.js';
import { defineCommand, type Io } from './command.js';

const count = (least: number) => z.number().int().min(least);
const check = (description: string) => ({ description, group: 'check' });
const pack = (description: string) => ({ description, group: 'pack' });

const options = z.strictObject({
  action: z.enum(['check', 'pack']).describe('What to do: check or pack'),
  path: z.string().describe('The pictures, in any layout'),
  output: z.string().optional().describe('Folder for what is packed'),
  dataset: z.string().default('').describe('Name of the data set; decides the layout for some names'),
  zip_mode: z.boolean().default(false).describe('Read the zip layout, whatever else lies there'),
  tsv_mode: z.boolean().default(false).describe('Read the TSV layout, whatever else lies there'),
  workers: count(1).optional().describe('Threads that decode (automatic: one for each core)'),
  sample: count(1).optional().meta(check('Look at so many pictures only, evenly spread')),
  show: count(0).default(10).meta(check('Unreadable and double pictures that are named')),
  speed: z.boolean().default(true).meta(check('Measure how fast pictures are loaded, and trained on')),
  needed: z
    .number()
    .positive()
    .optional()
    .meta(check('Pictures a second that training takes; measured here if not given')),
  format: z.enum(['zip', 'tsv', 'tar']).default('tar').meta(pack('Layout to pack into')),
  max_side: count(1).optional().meta(pack('Make pictures smaller whose longer side has more pixels')),
  quality: count(1).max(100).default(95).meta(pack('Quality of JPEGs that are made smaller')),
  shard_mb: count(1).default(1000).meta(pack('Size of a tar shard, in MB')),
});

type Options = z.output<typeof options>;

export const data = defineCommand({
  name: 'data',
  summary: 'Check a set of pictures, or pack it for fast reading',
  examples: [
    'esvit data check pictures',
    'esvit data check imagenet --sample 5000 --needed 800',
    'esvit data pack pictures packed --format tar',
    'esvit data pack pictures packed --format zip --max_side 512',
  ],
  positionals: ['action', 'path', 'output'],
  options,
  async run(options, io) {
    const { layoutAsked } = await import('../data/index.js');
    const layout = layoutAsked(options);
    return options.action === 'check' ? checkAll(options, layout, io) : packAll(options, layout, io);
  },
});

async function checkAll(options: Options, layout: LayoutKind | undefined, io: Io): Promise<object> {
  const { checkImages, imageLayout, openImages } = await import('../data/index.js');
  const { path } = options;
  const { splits, kind } = imageLayout(path, layout);
  const reports: Record<string, object> = {};
  let classes: readonly string[] = [];
  for (const split of splits.length === 0 ? (['train'] as const) : splits) {
    const source = await openImages(path, {
      layout,
      split,
      ...(classes.length > 0 && { classes }),
      note: (line) => io.log(line),
    });
    try {
      if (source.labelKind === 'single') classes = source.classes;
      const name = splits.length === 0 ? 'pictures' : split;
      io.out(`${name}: ${source.length} pictures, ${source.description}`);
      const total = Math.min(source.length, options.sample ?? source.length);
      const bar = io.progress(total, { label: `checking ${name}`, unit: 'pictures' });
      let report: CheckReport;
      try {
        report = await checkImages(source, {
          ...(options.sample !== undefined && { sample: options.sample }),
          ahead: 2 * (options.workers ?? cpus().length),
          onProgress: (done, unreadable) => bar.update(done, { unreadable }),
        });
      } finally {
        bar.stop();
      }
      print(report, options.show, io);
      reports[split] = { ...report, classes: source.labelKind === 'none' ? 0 : source.classes.length };
      if (split === 'train' && options.speed && report.unreadable.length < report.checked)
        reports.speed = await speed(source, options, io);
    } finally {
      source.close();
    }
  }
  return { layout: kind, ...reports };
}

function print(report: CheckReport, show: number, io: Io): void {
  const { checked, images, unreadable, duplicates, perClass } = report;
  if (checked < images) io.out(`  ${checked} of them looked at`);
  if (perClass !== undefined)
    io.out(
      `  ${perClass.least} to ${perClass.most} pictures a class${perClass.empty > 0 ? `, ${perClass.empty} classes without any` : ''}`,
    );
  io.out(`  ${Math.round(report.meanBytes / 1000)} kB a picture on average; shorter sides in pixels:`);
  const most = report.sides.reduce((a, { count }) => Math.max(a, count), 1);
  for (const { from, to, count: n } of report.sides) {
    const range = Number.isFinite(to) ? `${from}..${to}` : `${from}..`;
    io.out(`    ${range.padEnd(11)} ${String(n).padStart(9)}  ${'#'.repeat(Math.ceil((n / most) * 40))}`);
  }
  io.out(`  ${unreadable.length === 0 ? 'all can be read' : `${unreadable.length} cannot be read:`}`);
  for (const { key, reason } of unreadable.slice(0, show)) io.out(`    ${key}: ${reason}`);
  if (unreadable.length > show) io.out(`    … and ${unreadable.length - show} more`);
  const doubles = duplicates.reduce((sum, group) => sum + group.length - 1, 0);
  io.out(`  ${doubles === 0 ? 'none is there twice' : `${doubles} are copies of others:`}`);
  for (const group of duplicates.slice(0, show)) io.out(`    ${group.join(' = ')}`);
  if (duplicates.length > show) io.out(`    … and ${duplicates.length - show} more groups`);
}

/** Pictures a second from the disk to crops, beside what training takes on this machine. */
async function speed(source: ImageSource, options: Options, io: Io): Promise<object> {
  const { measureLoading } = await import('../data/index.js');
  const { cropPlan, measureFacts, measureTraining, readRequest, resolveTrainConfig, trainOptions } =
    await import('../train/index.js');
  const { setThreads } = await import('../torch/index.js');
  const asked = { ...trainOptions.parse({}), data_path: options.path };
  const { config } = resolveTrainConfig(
    readRequest(asked, new Set(['data_path'])),
    {},
    await measureFacts(source),
  );
  io.log('Measuring speed…');
  const needed = options.needed ?? measureTraining(config, 2);
  // The workers have the cores to themselves only where a GPU trains.
  const workers = options.workers ?? config.num_workers;
  setThreads(1);
  const { imagesPerSecond } = await measureLoading(source, cropPlan(config), { workers, seconds: 3 });
  const ratio = imagesPerSecond / needed;
  const verdict =
    ratio >= 1.2
      ? 'the data keeps up with the training'
      : ratio >= 0.9
        ? 'the data just about keeps up: expect some waiting'
        : 'the training would wait for the data; pack it with --max_side, use more workers or faster storage';
  io.out(
    `  loading: ${imagesPerSecond.toFixed(0)} pictures/s with ${workers} worker${workers === 1 ? '' : 's'}; training: ` +
      `${needed.toFixed(0)} pictures/s ${options.needed === undefined ? `(automatic settings, ${config.device})` : 'as given'}: ${verdict}`,
  );
  return { loading: imagesPerSecond, training: needed, workers, starves: ratio < 0.9 };
}

async function packAll(options: Options, layout: LayoutKind | undefined, io: Io): Promise<object> {
  const { imageLayout, openImages } = await import('../data/index.js');
  const { packImages } = await import('../data/pack/index.js');
  const { path, output, format } = options;
  if (output === undefined)
    throw new UserError(
      'usage',
      "Where to? Write 'esvit data pack PICTURES OUTPUT', with a folder for what is packed.",
    );
  const { splits } = imageLayout(path, layout);
  if (resolve(output) === resolve(path))
    throw new UserError(
      'usage',
      `${output} holds the pictures themselves; name another folder for what is packed.`,
    );
  const results: Record<string, object> = {};
  let classes: readonly string[] = [];
  for (const split of splits.length === 0 ? (['train'] as Split[]) : splits) {
    const source = await openImages(path, {
      layout,
      split,
      ...(classes.length > 0 && { classes }),
      note: (line) => io.log(line),
    });
    const bar = io.progress(source.length, { label: `packing ${split}`, unit: 'pictures' });
    try {
      if (source.labelKind === 'single') classes = source.classes;
      if (source.labelKind === 'multiple')
        io.warn(
          'the pictures have several labels each, which no packed layout holds; they are packed without.',
        );
      const result = await packImages(source, output, {
        format,
        split,
        quality: options.quality,
        shardBytes: options.shard_mb * 1e6,
        ...(options.max_side !== undefined && { maxSide: options.max_side }),
        onProgress: (done) => bar.update(done),
        onBad: (key, reason) => io.warn(`left out ${key}: ${reason}`),
      });
      bar.stop();
      const changed = result.changed > 0 ? `, ${result.changed} written anew` : '';
      io.out(
        `${split}: ${result.pictures} pictures${changed}, ${(result.bytes / 1e6).toFixed(1)} MB in ${result.files.length} file${result.files.length === 1 ? '' : 's'}: ${result.files.slice(0, 3).join(', ')}${result.files.length > 3 ? ' …' : ''}`,
      );
      results[split] = result;
    } finally {
      bar.stop();
      source.close();
    }
  }
  return results;
}
