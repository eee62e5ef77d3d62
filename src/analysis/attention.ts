/** What a network looks at in one picture: heat maps and masks for every head, and entropy over many pictures. */

import { EvaluationLoader, type ImageSource, normalise, toPlanes } from '../data/index.js';
import { dotChart, heatFigure, maskedPicture, overlay, type Picture, panelFigure } from '../draw/index.js';
import { UserError } from '../errors.js';
import {
  evaluationPlan,
  headEntropies,
  headsByEntropy,
  massMask,
  type Place,
  type QueryAttention,
  queryAttention,
} from '../eval/index.js';
import type { AttentionMap } from '../models/index.js';
import { inferenceMode, scope } from '../torch/index.js';
import { type Analysis, type Drawing, placeName } from './analysis.js';
import { inputOf, type Subject } from './views.js';

export interface AttentionOptions {
  /** the query's place in the picture, or the class token */
  query: Place | 'class';
  /** numbers of the blocks to draw; default: the last one of each stage */
  blocks?: readonly number[];
  /** share of the mass that masks hold */
  threshold: number;
}

/** Heat maps and masks of every head of the blocks asked for; undefined where the architecture has no attention. */
export async function drawAttention(
  subject: Subject,
  picture: Picture,
  options: AttentionOptions,
): Promise<Analysis | undefined> {
  const { query, threshold } = options;
  const found = inferenceMode(() =>
    scope(() => {
      const maps = subject.backbone.attentionMaps(inputOf([picture], subject.device));
      return maps.length === 0
        ? undefined
        : chosenBlocks(maps, options.blocks).map((map) => queryAttention(map, query));
    }),
  );
  if (found === undefined) return undefined;
  const drawn = found.filter((one): one is QueryAttention => one !== undefined);
  if (drawn.length === 0)
    throw new UserError('usage', 'This network has no class token; give the query as a place, e.g. 0.5,0.5.');
  const where = query === 'class' ? 'the class token' : `the region at ${query.join(',')}`;
  const suffix = query === 'class' ? 'class' : placeName(query);
  const drawings: Drawing[] = [];
  for (const attention of drawn) drawings.push(...(await drawBlock(attention, picture, threshold, suffix)));
  return {
    title: 'Attention',
    summary: `What each head gives to the regions of the picture when ${where} asks. Masks show the fewest regions that hold ${Math.round(threshold * 100)}% of it; heads stand from the most to the least spread out.`,
    drawings,
    numbers: {
      query: query === 'class' ? 'class' : [...query],
      threshold,
      blocks: drawn.map(({ block, stage, grid, heads }) => ({
        block,
        stage,
        grid,
        heads: heads.map((head) => [...head]),
      })),
    },
  };
}

async function drawBlock(
  { block, stage, grid: [height, width], query, heads }: QueryAttention,
  picture: Picture,
  threshold: number,
  suffix: string,
): Promise<Drawing[]> {
  const order = headsByEntropy(heads);
  const high = Math.max(...heads.map((head) => Math.max(...head)));
  const mark =
    query === undefined ? undefined : ([(query[1] + 0.5) / width, (query[0] + 0.5) / height] as const);
  const panels = (paint: (values: Float32Array) => Picture) =>
    order.map((head) => ({
      title: `head ${head}`,
      picture: paint(heads[head]),
      ...(mark && { mark }),
    }));
  const layout = { columns: Math.min(6, heads.length), side: 130 };
  const name = `block${String(block).padStart(2, '0')}-query-${suffix}`;
  const about = `block ${block} (stage ${stage + 1}), ${heads.length} heads`;
  return [
    {
      name: `attention-${name}`,
      caption: `Attention of ${about}.`,
      figure: await heatFigure(
        panels((values) => overlay(picture, { values, width, height }, { low: 0, high, blocks: true })),
        { low: 0, high, title: `attention, ${about}` },
        layout,
      ),
    },
    {
      name: `mask-${name}`,
      caption: `The fewest regions with ${Math.round(threshold * 100)}% of the attention, ${about}.`,
      figure: await panelFigure(
        panels((values) => maskedPicture(picture, { values: massMask(values, threshold), width, height })),
        `attention masks, ${about}`,
        layout,
      ),
    },
  ];
}

function chosenBlocks(maps: readonly AttentionMap[], wanted?: readonly number[]): AttentionMap[] {
  if (wanted === undefined) return maps.filter((map, i) => map.stage !== maps[i + 1]?.stage);
  return wanted.map((block) => {
    const map = maps.find((one) => one.block === block);
    if (map === undefined)
      throw new UserError(
        'usage',
        `--blocks ${block}: this network has blocks 0 to ${maps[maps.length - 1].block}.`,
      );
    return map;
  });
}

export interface OverData {
  source: ImageSource;
  workers: number;
  /** pictures at a time */
  batchSize: number;
  /** which pictures; default all */
  indices?: Uint32Array;
  onProgress?: (done: number) => void;
}

/** Mean entropy of every head over the pictures of a data set; undefined where the architecture has no attention. */
export async function measureEntropy(subject: Subject, data: OverData): Promise<Analysis | undefined> {
  const { backbone, device, imageSize } = subject;
  const loader = new EvaluationLoader({
    source: data.source,
    batchSize: data.batchSize,
    workers: data.workers,
    plan: evaluationPlan(imageSize),
    ...(data.indices && { indices: data.indices }),
  });
  let sums: Float64Array[] | undefined;
  let count = 0;
  try {
    for await (const { pixels } of loader.batches()) {
      const rows = pixels.shape[0];
      const bits = inferenceMode(() =>
        scope(() => backbone.attentionMaps(normalise(toPlanes(pixels, device))).map(headEntropies)),
      );
      sums ??= bits.map((heads) => new Float64Array(heads.length));
      for (const [block, heads] of bits.entries())
        for (const [head, value] of heads.entries()) sums[block][head] += value * rows;
      count += rows;
      data.onProgress?.(count);
    }
  } finally {
    await loader.close();
  }
  if (sums === undefined)
    throw new UserError('data', 'No picture could be read, so there is no entropy to measure.');
  if (sums.length === 0) return undefined;
  const means = sums.map((heads) => Array.from(heads, (sum) => sum / count));
  const overall = means.map((heads) => heads.reduce((sum, value) => sum + value, 0) / heads.length);
  return {
    title: 'Attention entropy',
    summary: `Over ${count} pictures, heads look at ${(2 ** overall[0]).toFixed(1)} regions in the first block and at ${(2 ** (overall.at(-1) ?? 0)).toFixed(1)} in the last one, if all were looked at alike (2 to the power of the entropy).`,
    drawings: [
      {
        name: 'entropy',
        caption: 'A dot is a head; the line joins the means of the blocks.',
        figure: await dotChart(means, {
          title: 'Attention entropy',
          x: 'block',
          y: 'bits',
          width: Math.max(420, means.length * 30),
        }),
      },
    ],
    tables: [
      {
        head: ['block', 'mean (bits)', 'lowest head', 'highest head'],
        rows: means.map((heads, block) => [
          String(block),
          ...[overall[block], Math.min(...heads), Math.max(...heads)].map((value) => value.toFixed(3)),
        ]),
      },
    ],
    numbers: { pictures: count, entropy: means },
  };
}
