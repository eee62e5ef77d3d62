/** `esvit analyze`: what a frozen network looks at and which regions it finds again, as pictures and numbers. */

import { basename } from 'node:path';
import { z } from 'zod';
import type { Analysis, Subject } from '../analysis/index.js';
import type { ImageSource } from '../data/index.js';
import type { Picture } from '../draw/index.js';
import { UserError } from '../errors.js';
import { defineCommand, type Io } from './command.js';
import { networkOptions } from './network.js';

const flag = (words: string) => z.boolean().default(false).describe(words);

const options = z.strictObject({
  ...networkOptions,
  batch_size: networkOptions.batch_size.unwrap().default(8).describe('Pictures at a time'),
  image_path: z.string().optional().describe('The picture to look at'),
  image_path2: z.string().optional().describe('A second picture to compare it with'),
  data_path: z.string().optional().describe('Pictures to measure over, in any layout'),
  output_dir: z.string().default('analysis').describe('Folder for pictures, report.html and analysis.json'),
  vis_attention: flag('Draw the attention of every head, and masks of where most of it lies'),
  vis_correspondence: flag(
    'Draw which regions of the picture are found again in a second view or in --image_path2',
  ),
  measure_correspondence: flag(
    'Measure over --data_path (mirrored grey views) or over --pairs how often the right region is found',
  ),
  vis_entropy: flag('Measure over --data_path how spread out every head is'),
  components: flag('Draw the principal components of the regions as colours'),
  similarity: z
    .string()
    .optional()
    .describe('Draw how similar every region is to the one at this place: x,y'),
  nearest_regions: z
    .string()
    .optional()
    .describe('Find the regions of --data_path that are most similar to the one at this place: x,y'),
  pairs: z
    .string()
    .optional()
    .describe('Folder of esvit sample-data --pairs, whose true correspondence is known, to measure over'),
  query: z
    .string()
    .default('0.5,0.5')
    .describe("The place whose attention is drawn: x,y in 0..1, or 'class'"),
  blocks: z
    .array(z.number().int().min(0))
    .optional()
    .describe('Numbers of the blocks to draw, from 0 (default: the last one of each stage)'),
  threshold: z.number().gt(0).lt(1).default(0.6).describe('Share of the attention that a mask holds'),
  seed: z.number().int().default(0).describe('The draws of second views follow from it'),
  use_saved_aug: flag('Take the second view from view2.png in --output_dir, as saved by an earlier run'),
  max_images: z.number().int().min(1).default(200).describe('Measure over so many pictures, evenly spread'),
  count: z.number().int().min(1).default(12).describe('How many of the nearest regions to show'),
});

type Options = z.output<typeof options>;

export const analyze = defineCommand({
  name: 'analyze',
  summary: 'Draw and measure attention and region correspondence of a frozen network',
  examples: [
    'esvit analyze --run runs/first --image_path photo.jpg',
    'esvit analyze --run runs/first --image_path photo.jpg --vis_attention --query 0.3,0.6 --blocks 0 5',
    'esvit analyze --arch swin_tiny --pretrained_weights swin_tiny.pth --vis_correspondence --image_path a.jpg --image_path2 b.jpg',
    'esvit analyze --run runs/first --data_path pictures --vis_entropy --measure_correspondence',
    'esvit analyze --run runs/first --pairs scenes --measure_correspondence',
    'esvit analyze --run runs/first --image_path photo.jpg --nearest_regions 0.4,0.5 --data_path pictures',
  ],
  options,
  overrides: true,
  aliases: { batch_size_per_gpu: 'batch_size', num_workers: 'workers' },
  async run(given, io, { overrides, argv }) {
    const chosen = withDefaults(given);
    const { writeAnalyses } = await import('../analysis/index.js');
    const { cpus } = await import('node:os');
    const { setThreads } = await import('../torch/index.js');
    const { loadNetwork } = await import('./network.js');
    setThreads(chosen.threads ?? cpus().length);
    const { backbone, device, imageSize, description, weights } = await loadNetwork(chosen, io, overrides);
    const subject = { backbone, device, imageSize, name: description };
    const analyses = await run(chosen, chosen === given, subject, io);
    const network = `${description}${weights === undefined ? ', untrained' : ''}`;
    const command = ['npx esvit analyze', ...argv.map(quoted)].join(' ');
    const [report, json, ...files] = await writeAnalyses(chosen.output_dir, analyses, { network, command });
    for (const { title, summary } of analyses) io.out(`${title}: ${summary}`);
    io.out(`Report: ${report}`);
    return {
      report,
      json,
      files,
      analyses: Object.fromEntries(analyses.map(({ title, summary }) => [title, summary])),
    };
  },
});

const quoted = (word: string): string => (/^[\w./,:=-]+$/.test(word) ? word : `'${word}'`);

/** Without a word on what to do, all that fits what is there. */
function withDefaults(given: Options): Options {
  const needs: [keyof Options, keyof Options][] = [
    ['vis_attention', 'image_path'],
    ['components', 'image_path'],
    ['similarity', 'image_path'],
    ['nearest_regions', 'image_path'],
    ['nearest_regions', 'data_path'],
    ['vis_correspondence', 'image_path'],
    ['vis_entropy', 'data_path'],
    ['image_path2', 'image_path'],
  ];
  for (const [wish, need] of needs)
    if (given[wish] && given[need] === undefined)
      throw new UserError('usage', `--${wish} needs --${need}, which is missing.`);
  if (given.measure_correspondence && given.data_path === undefined && given.pairs === undefined)
    throw new UserError('usage', '--measure_correspondence needs --data_path or --pairs.');
  const asked =
    given.vis_attention ||
    given.vis_correspondence ||
    given.measure_correspondence ||
    given.vis_entropy ||
    given.components ||
    given.similarity !== undefined ||
    given.nearest_regions !== undefined;
  if (asked) return given;
  const hasPicture = given.image_path !== undefined;
  const hasData = given.data_path !== undefined;
  if (!(hasPicture || hasData || given.pairs !== undefined))
    throw new UserError(
      'usage',
      'Nothing to look at: give --image_path, --data_path or --pairs; see --help.',
    );
  return {
    ...given,
    vis_attention: hasPicture,
    vis_correspondence: hasPicture,
    components: hasPicture,
    vis_entropy: hasData,
    measure_correspondence: hasData || given.pairs !== undefined,
  };
}

async function run(
  options: Options,
  asked: boolean,
  { name, ...subject }: Subject & { name: string },
  io: Io,
): Promise<Analysis[]> {
  const inside = await import('../analysis/index.js');
  const { evenly } = await import('../train/index.js');
  const read = (path: string) => inside.readPicture(path, subject.imageSize);
  const found: Analysis[] = [];
  const add = (attention: Analysis | undefined) => {
    if (attention !== undefined) return found.push(attention);
    if (asked)
      throw new UserError(
        'usage',
        `${name} has no attention. Choose another architecture or another analysis.`,
      );
    io.log(`${name} has no attention, so none is drawn.`);
  };
  const { image_path: path, image_path2: path2 } = options;
  if (path !== undefined) {
    const picture = await read(path);
    const pictures = [
      { name: basename(path), picture },
      ...(path2 === undefined ? [] : [{ name: basename(path2), picture: await read(path2) }]),
    ];
    if (options.vis_attention) {
      const { blocks, threshold } = options;
      const query = options.query === 'class' ? 'class' : placeFrom('query', options.query);
      add(await inside.drawAttention(subject, picture, { query, threshold, ...(blocks && { blocks }) }));
    }
    if (options.vis_correspondence) {
      const second = pictures[1]?.picture ?? (await secondView(options, picture));
      const titles = [basename(path), pictures[1]?.name ?? 'mirrored, jittered and grey'] as const;
      found.push(await inside.drawCorrespondence(subject, picture, second, titles));
    }
    if (options.components) found.push(await inside.drawComponents(subject, pictures));
    if (options.similarity !== undefined)
      found.push(await inside.drawSimilarity(subject, pictures, placeFrom('similarity', options.similarity)));
    if (options.nearest_regions !== undefined) {
      const place = placeFrom('nearest_regions', options.nearest_regions);
      const { count, max_images: most } = options;
      found.push(
        await overData(options, io, 'nearest regions', (source, onProgress) =>
          inside.drawNearestRegions(subject, picture, {
            source,
            indices: evenly(source.length, most),
            place,
            count,
            onProgress,
          }),
        ),
      );
    }
  }
  const { max_images: most, seed, workers, batch_size: batchSize } = options;
  if (options.vis_entropy)
    add(
      await overData(options, io, 'entropy', (source, onProgress) =>
        inside.measureEntropy(subject, {
          source,
          indices: evenly(source.length, most),
          workers,
          batchSize,
          onProgress,
        }),
      ),
    );
  if (options.measure_correspondence && options.pairs !== undefined)
    found.push(await measureScenes(subject, options.pairs, io));
  if (options.measure_correspondence && options.data_path !== undefined)
    found.push(
      await overData(options, io, 'correspondence', (source, onProgress) =>
        inside.measureCorrespondence(subject, {
          source,
          indices: evenly(source.length, most),
          seed,
          onProgress,
        }),
      ),
    );
  return found;
}

/** "0.4,0.5" */
function placeFrom(flagName: string, text: string): readonly [number, number] {
  const numbers = text.split(',').map(Number);
  if (numbers.length !== 2 || !numbers.every((share) => share >= 0 && share <= 1))
    throw new UserError(
      'usage',
      `--${flagName} ${text}: expected a place as two shares of width and height, e.g. 0.5,0.25.`,
    );
  return [numbers[0], numbers[1]];
}

/** The second view of a picture, kept beside the report so that a later run can use the very same. */
async function secondView({ output_dir: folder, use_saved_aug: saved, seed }: Options, picture: Picture) {
  const { join } = await import('node:path');
  const { mkdirSync } = await import('node:fs');
  const { mirroredView, readPicture } = await import('../analysis/index.js');
  const { encodePng } = await import('../draw/index.js');
  const { diskError, writeFileAtomic } = await import('../files.js');
  const path = join(folder, 'view2.png');
  if (saved) return readPicture(path, picture.width, 'whole');
  const view = mirroredView(picture, seed);
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw diskError(folder, error);
  }
  writeFileAtomic(path, await encodePng(view));
  return view;
}

async function measureScenes(subject: Subject, folder: string, io: Io): Promise<Analysis> {
  const { measurePairs, readPicture } = await import('../analysis/index.js');
  const { readPairs } = await import('../data/scenes/index.js');
  const pairs = readPairs(folder);
  const bar = io.progress(pairs.length, { label: 'pairs', unit: 'pairs' });
  async function* views() {
    for (const { first, second, map } of pairs)
      yield {
        name: first,
        left: await readPicture(first, subject.imageSize, 'whole'),
        right: await readPicture(second, subject.imageSize, 'whole'),
        map,
      };
  }
  try {
    return await measurePairs(subject, views(), {
      title: 'Correspondence between scenes',
      truth: 'another view of the same scene',
      tolerance: 1,
      onProgress: (done) => bar.update(done),
    });
  } finally {
    bar.stop();
  }
}

async function overData<Result>(
  { data_path: path, max_images: most }: Options,
  io: Io,
  label: string,
  work: (source: ImageSource, onProgress: (done: number) => void) => Promise<Result>,
): Promise<Result> {
  const { openImages } = await import('../data/index.js');
  const source = await openImages(path as string, { note: (line) => io.log(line) });
  const bar = io.progress(Math.min(source.length, most), { label, unit: 'images' });
  try {
    return await work(source, (done) => bar.update(done));
  } finally {
    bar.stop();
    source.close();
  }
}
