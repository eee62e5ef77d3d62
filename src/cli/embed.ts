/** `esvit embed`: features of a set of pictures with their names, as a file. */

import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { z } from 'zod';
import type { ImageSource } from '../data/index.js';
import { UserError } from '../errors.js';
import type { EmbeddingParts } from '../eval/index.js';
import type { Company } from '../train/index.js';
import { defineCommand, type Io } from './command.js';
import { type LoadedNetwork, networkOptions } from './network.js';
import { ASKED_ELSEWHERE, evaluateAmongRanks, rankOptions } from './ranks.js';

const options = z.strictObject({
  data_path: z.string().describe('Pictures: a folder, a zip, or another layout that training reads'),
  dataset: z.string().default('').describe('Name of the data set; decides the layout for some names'),
  zip_mode: z.boolean().default(false).describe('Read train.zip and its map in --data_path'),
  tsv_mode: z.boolean().default(false).describe('Read the TSV layout in --data_path'),
  split: z.enum(['train', 'val']).default('train').describe('Which split, where there are several'),
  output: z.string().describe('File to write; its ending is the format: .npy, .csv, .parquet, .safetensors'),
  ...networkOptions,
  normalize: z.boolean().default(false).describe('Divide each feature vector by its length'),
  ...rankOptions,
});

type Options = z.output<typeof options>;

export const embed = defineCommand({
  name: 'embed',
  summary: 'Write the features of pictures, with their names, to a file',
  examples: [
    'esvit embed --run runs/first --data_path pictures --output pictures.npy',
    'esvit embed --arch swin_tiny --pretrained_weights swin_tiny.pth --data_path pictures --output pictures.parquet',
  ],
  options,
  positionals: ['data_path'],
  overrides: true,
  aliases: { batch_size_per_gpu: 'batch_size', num_workers: 'workers' },
  ranks: true,
  async run(options, io, { overrides }) {
    const { embeddingFormat } = await import('../eval/index.js');
    embeddingFormat(options.output); // before anything that takes long
    return evaluateAmongRanks(io, options, overrides, (io, company) =>
      describe(options, io, overrides, company),
    );
  },
});

async function describe(
  options: Options,
  io: Io,
  overrides: readonly string[],
  company: Company,
): Promise<object> {
  const { EmbeddingParts, writeEmbedding, writeFacts } = await import('../eval/index.js');
  const { layoutAsked, openImages } = await import('../data/index.js');
  const { manualSeed } = await import('../torch/index.js');
  const { loadNetwork } = await import('./network.js');
  const { output, split } = options;
  manualSeed(0); // a network without weights is the same one each time
  const layout = { layout: layoutAsked(options), note: (line: string) => io.log(line) };
  const source = await openImages(options.data_path, { ...layout, split });
  try {
    company.checkData(source);
    company.say(-1, 'receiving the network of rank 0');
    const network = await loadNetwork(options, io, overrides, company.collectives);
    const imageSize = options.image_size ?? network.imageSize;
    // Only rank 0 writes, and knows what is there already.
    const parts = company.isFirst
      ? new EmbeddingParts(`${output}.part`, subjectOf(options, network, source, imageSize))
      : undefined;
    try {
      if (parts !== undefined && parts.next > 0) io.log(`Going on after ${parts.rows.length} pictures.`);
      const bad = await fill(parts, source, network, { ...options, imageSize }, company, io);
      if (parts === undefined) return { status: bad === undefined ? 'interrupted' : 'finished' };
      if (bad === undefined) {
        io.out(`Ended after ${parts.rows.length} of ${source.length} pictures; the same command goes on.`);
        return { status: 'interrupted', rows: parts.rows.length };
      }
      if (bad > 0) io.warn(`${bad} pictures could not be read and were left out.`);
      if (parts.rows.length === 0)
        throw new UserError(
          'data',
          `none of the ${source.length} pictures of ${options.data_path} can be read.`,
        );
      const { table, rows, width } = parts;
      writeFacts(output, facts(options, overrides, source, { imageSize, width, rows: rows.length }));
      writeEmbedding(output, {
        features: table,
        names: rows.map(({ name }) => name),
        labels: Int32Array.from(rows, ({ label }) => label),
      });
      parts.remove();
      io.out(`${rows.length} pictures, ${width} numbers each: ${output}`);
      return { status: 'finished', rows: rows.length, width, output, unreadable: bad };
    } finally {
      parts?.close();
    }
  } finally {
    source.close();
  }
}

/** What must be the same for the rows of two starts to belong together. */
function subjectOf(options: Options, network: LoadedNetwork, source: ImageSource, imageSize: number): string {
  const { weights, description } = network;
  const of =
    weights === undefined
      ? 'untrained'
      : `${resolve(weights)} of ${new Date(statSync(weights).mtimeMs).toISOString()} ${options.checkpoint_key ?? 'usual part'}`;
  const scaled = options.normalize ? ', unit length' : '';
  return `${description}, ${of}, ${source.length} pictures of ${resolve(options.data_path)} ${options.split} at ${imageSize}${scaled}`;
}

/** -> unreadable pictures, or undefined where a signal asked for the end */
async function fill(
  parts: EmbeddingParts | undefined,
  source: ImageSource,
  { backbone, device }: LoadedNetwork,
  options: Options & { imageSize: number },
  company: Company,
  io: Io,
): Promise<number | undefined> {
  const { evaluationPlan, featureBatches, sharedBatches } = await import('../eval/index.js');
  const { sharedValue } = await import('../dist/index.js');
  const first = sharedValue(company.collectives, () => parts?.next ?? 0);
  if (first >= source.length) return 0;
  let interrupted = false;
  const release = io.onInterrupt(() => {
    interrupted = true;
  });
  const bar = io.progress(source.length, { label: 'pictures', unit: 'images', start: first });
  let rounds = 0;
  company.say(0, 'describing pictures');
  const settings = {
    plan: evaluationPlan(options.imageSize),
    batchSize: options.batch_size,
    workers: options.workers,
    device,
    unitLength: options.normalize,
    indices: Uint32Array.from({ length: source.length - first }, (_, i) => first + i),
    onProgress: (done: number) => {
      bar.update(first + done);
      company.say(++rounds, 'describing pictures');
    },
  };
  const batches = sharedBatches(
    (own) => featureBatches(backbone, source, own),
    source,
    settings,
    company.collectives,
    () => interrupted,
  );
  try {
    let next = await batches.next();
    for (; next.done !== true; next = await batches.next()) {
      const { features, labels, indices, isAskedToStop } = next.value;
      parts?.append(
        features.toFloat32(),
        Array.from(indices, (index, i) => ({ index, name: source.key(index), label: labels[i] })),
      );
      if (isAskedToStop) {
        if (!interrupted) io.fail(ASKED_ELSEWHERE); // another rank was
        return undefined;
      }
    }
    return next.value;
  } finally {
    await batches.return(0);
    bar.stop();
    release();
  }
}

/** Beside the file: what it is of, so that a search can look at queries with the same network. */
function facts(
  options: Options,
  overrides: readonly string[],
  source: ImageSource,
  found: { imageSize: number; width: number; rows: number },
): object {
  const { run, cfg, arch, patch_size, pretrained_weights, checkpoint_key } = options;
  const place = (path: string | undefined) => (path === undefined ? undefined : resolve(path));
  return {
    format: 'esvit-embedding',
    version: 1,
    rows: found.rows,
    width: found.width,
    unit_length: options.normalize,
    classes: source.classes,
    data: {
      data_path: resolve(options.data_path),
      dataset: options.dataset,
      zip_mode: options.zip_mode,
      tsv_mode: options.tsv_mode,
      split: options.split,
    },
    network: {
      run: place(run),
      cfg: place(cfg),
      arch,
      patch_size,
      pretrained_weights: place(pretrained_weights),
      checkpoint_key,
      image_size: found.imageSize,
      overrides,
    },
  };
}
