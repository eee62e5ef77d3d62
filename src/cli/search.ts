/** `esvit search`: the pictures of an embedded set that are most like a query. */

import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { z } from 'zod';
import type { Picture } from '../data/index.js';
import { messageOf, UserError } from '../errors.js';
import type { Hit } from '../eval/index.js';
import { writeFileAtomic } from '../files.js';
import { defineCommand, type Io } from './command.js';
import { networkOptions } from './network.js';

const options = z.strictObject({
  query: z.array(z.string()).describe('Pictures to look for'),
  index: z.string().describe('File that esvit embed wrote'),
  top: z.number().int().min(1).default(10).describe('How many pictures to show for each query'),
  html: z.string().optional().describe('Page to write, with all pictures inside'),
  png: z.string().optional().describe('Contact sheet to write'),
  data_path: z
    .string()
    .optional()
    .describe('Where the embedded pictures lie now (default: where they were embedded)'),
  ...networkOptions,
});

type Options = z.output<typeof options>;

const factsSchema = z.looseObject({
  format: z.literal('esvit-embedding'),
  classes: z.array(z.string()),
  data: z.looseObject({
    data_path: z.string(),
    dataset: z.string(),
    zip_mode: z.boolean(),
    tsv_mode: z.boolean(),
    split: z.enum(['train', 'val']),
  }),
  network: z.looseObject({
    run: z.string().optional(),
    cfg: z.string().optional(),
    arch: z.string().optional(),
    patch_size: z.number(),
    pretrained_weights: z.string().optional(),
    checkpoint_key: z.string().optional(),
    image_size: z.number(),
    overrides: z.array(z.string()),
  }),
});

type Facts = z.output<typeof factsSchema>;

/** Side of a picture on the sheet, twice what is shown, for screens with fine pixels. */
const THUMBNAIL = 160;

export const search = defineCommand({
  name: 'search',
  summary: 'Find the pictures of an embedded set that are most like a query',
  examples: [
    'esvit search query.jpg --index pictures.npy',
    'esvit search a.jpg b.jpg --index pictures.npy --top 20 --html found.html --png found.png',
  ],
  options,
  positionals: ['query'],
  aliases: { batch_size_per_gpu: 'batch_size', num_workers: 'workers' },
  async run(options, io) {
    const { describePictures, evaluationPlan, lookUp, readEmbedding, readFacts } = await import(
      '../eval/index.js'
    );
    const { cpus } = await import('node:os');
    const { manualSeed, setThreads } = await import('../torch/index.js');
    const { loadNetwork } = await import('./network.js');
    setThreads(options.threads ?? cpus().length);
    manualSeed(0); // a network without weights is the same one each time
    if (options.query.length === 0) throw new UserError('usage', 'Which picture? Give one or more files.');
    const embedding = await readEmbedding(options.index);
    const facts = parsedFacts(options.index, readFacts(options.index));
    const queries = await Promise.all(options.query.map(readPicture));
    const named = options.run ?? options.cfg ?? options.arch;
    if (named === undefined && facts === undefined)
      throw new UserError(
        'usage',
        `${options.index}.json, which says what network made ${options.index}, is not there; give --run, --arch or --cfg.`,
      );
    const network =
      named === undefined && facts !== undefined
        ? await loadNetwork({ ...options, ...facts.network }, io, facts.network.overrides)
        : await loadNetwork(options, io);
    const imageSize = options.image_size ?? facts?.network.image_size ?? network.imageSize;
    const plan = evaluationPlan(imageSize);
    const features = describePictures(network.backbone, queries, plan, network.device);
    if (features.shape[1] !== embedding.features.width)
      throw new UserError(
        'data',
        `${options.index} holds ${embedding.features.width} numbers a picture, this network gives ${features.shape[1]}: use the network that embedded it.`,
      );
    const found = lookUp(embedding, features, options.top);
    const classes = facts?.classes ?? [];
    show(options.query, found, classes, io);
    if (options.html !== undefined || options.png !== undefined)
      await draw(options, facts, queries, found, io);
    return {
      queries: options.query.map((query, i) => ({
        query,
        hits: found[i].map((hit, rank) => ({ rank: rank + 1, ...hit, class: classes[hit.label] })),
      })),
    };
  },
});

function parsedFacts(index: string, value: unknown): Facts | undefined {
  if (value === undefined) return undefined;
  const parsed = factsSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new UserError(
    'data',
    `${index}.json is not what esvit embed writes (${parsed.error.issues[0].message}).`,
  );
}

async function readPicture(path: string): Promise<Picture> {
  const { decode } = await import('../data/index.js');
  if (!existsSync(path)) throw new UserError('usage', `There is no picture ${path}; check the path.`);
  try {
    return await decode(readFileSync(path));
  } catch (error) {
    throw new UserError('data', `${path} cannot be read as a picture: ${messageOf(error)}.`);
  }
}

function show(queries: readonly string[], found: readonly Hit[][], classes: readonly string[], io: Io): void {
  for (const [i, hits] of found.entries()) {
    io.out(queries[i]);
    for (const [rank, { similarity, name, label }] of hits.entries()) {
      const word = label < 0 || classes[label] === undefined ? '' : `  ${classes[label]}`;
      io.out(`  ${String(rank + 1).padStart(3)}  ${similarity.toFixed(4).padStart(7)}  ${name}${word}`);
    }
  }
}

/** The page and the sheet; pictures that are gone are drawn grey. */
async function draw(
  options: Options,
  facts: Facts | undefined,
  queries: readonly Picture[],
  found: readonly Hit[][],
  io: Io,
): Promise<void> {
  const { blank, contactSheet, figurePng, htmlPage } = await import('../draw/index.js');
  const { centreCrop } = await import('../eval/index.js');
  const plan = { resize: THUMBNAIL, size: THUMBNAIL };
  const small = (picture: Picture) => ({
    width: THUMBNAIL,
    height: THUMBNAIL,
    data: centreCrop(picture, plan),
  });
  const names = new Set(found.flat().map(({ name }) => name));
  const pictures = await picturesOf(names, options, facts, io);
  const rows = found.map((hits, i) => ({
    cells: [
      { picture: small(queries[i]), text: basename(options.query[i]), mark: 'query' as const },
      ...hits.map(({ name, similarity }) => {
        const picture = pictures.get(name);
        const shown = picture === undefined ? blank(THUMBNAIL, THUMBNAIL, [200, 200, 200]) : small(picture);
        return { picture: shown, text: `${similarity.toFixed(3)} ${basename(name)}` };
      }),
    ],
  }));
  const columns = ['query', ...Array.from({ length: found[0].length }, (_, i) => String(i + 1))];
  const title = `Most similar of ${options.index}`;
  const sheet = (some: typeof rows) => contactSheet(some, { title, side: 80, columns, firstGap: 14 });
  if (options.png !== undefined) {
    writeFileAtomic(options.png, await figurePng(await sheet(rows)));
    io.log(`Contact sheet: ${options.png}`);
  }
  if (options.html !== undefined) {
    const sections = await Promise.all(
      rows.map(async (row, i) => ({
        title: options.query[i],
        blocks: [
          { kind: 'figure' as const, figure: await sheet([row]) },
          {
            kind: 'table' as const,
            head: ['picture', 'cosine', 'class'],
            rows: found[i].map(({ name, similarity, label }) => [
              name,
              similarity.toFixed(4),
              facts?.classes[label] ?? '',
            ]),
          },
        ],
      })),
    );
    const summary = `The ${found[0].length} pictures most similar to each query, by the cosine of their features, of all pictures in ${options.index}.`;
    writeFileAtomic(options.html, htmlPage({ title: 'Search by picture', summary, sections }));
    io.log(`Page: ${options.html}`);
  }
}

/** The pictures of these names, as far as they can still be read. */
async function picturesOf(
  names: ReadonlySet<string>,
  options: Options,
  facts: Facts | undefined,
  io: Io,
): Promise<Map<string, Picture>> {
  const { decode, layoutAsked, openImages } = await import('../data/index.js');
  const pictures = new Map<string, Picture>();
  const path = options.data_path ?? facts?.data.data_path;
  if (path === undefined || !existsSync(path)) {
    io.warn(
      `the embedded pictures are not at ${path ?? 'any known place'}; name it with --data_path to see them.`,
    );
    return pictures;
  }
  const wanted = facts?.data ?? { dataset: '', zip_mode: false, tsv_mode: false, split: 'train' as const };
  const source = await openImages(path, { layout: layoutAsked(wanted), split: wanted.split });
  try {
    for (let i = 0; i < source.length && pictures.size < names.size; i++) {
      const name = source.key(i);
      if (!names.has(name)) continue;
      try {
        pictures.set(name, await decode(await source.read(i)));
      } catch (error) {
        io.warn(`${name} cannot be shown: ${messageOf(error)}.`);
      }
    }
  } finally {
    source.close();
  }
  return pictures;
}
