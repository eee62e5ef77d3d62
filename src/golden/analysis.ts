/** Golden kind `analysis`: attention entropy and masks, and region correspondence between views and pictures. */

import { z } from 'zod';
import { normalise, toPlanes } from '../data/index.js';
import {
  bestPlace,
  entropyBits,
  headsByEntropy,
  massMask,
  matchRegions,
  rankedMatches,
  regionsOf,
  scoreMatches,
} from '../eval/index.js';
import { type AttentionMap, type Backbone, buildBackbone, type Features } from '../models/index.js';
import { type Device, inferenceMode, scope, type Tensor } from '../torch/index.js';
import {
  type Check,
  compareNumbers,
  compareTensors,
  type GoldenCase,
  tensorsOf,
  toleranceOf,
} from './case.js';
import { fillDeterministic } from './det.js';

const pairRow = z.tuple([z.number(), z.number(), z.number()]);
const globalRow = z.tuple([z.string(), z.number(), z.number(), z.number()]);
const schema = z.looseObject({
  salt: z.string(),
  config: z.looseObject({ arch: z.string(), window: z.number().optional(), threshold: z.number() }),
  expected: z.record(z.string(), z.union([z.number(), z.array(z.union([pairRow, globalRow]))])),
  compare: z.record(z.string(), z.looseObject({ atol: z.number().optional() })),
});

/** Matches that were this close may go either way; the case says so. */
const LEAST_MARGIN = 1e-5;
const LEAST_MASK_MARGIN = 1e-6;
/** How many of the surest matches are scored. */
const SUREST = 10;

export function* runAnalysis(golden: GoldenCase, folder: string): Generator<Check> {
  const { salt, config, expected, compare } = schema.parse(golden);
  const spec = config.window === undefined ? undefined : { WINDOW_SIZE: config.window };
  const backbone = buildBackbone({ arch: config.arch, ...(spec && { spec }), dropPathRate: 0 }).eval();
  fillDeterministic(backbone, salt);
  backbone.to({ device: golden.device });
  const stored = tensorsOf(golden, folder);
  const context = {
    backbone,
    device: golden.device,
    stored,
    threshold: config.threshold,
    expected: (name: string) => expected[name],
    atol: (name: string) => toleranceOf(compare, name)?.atol ?? 0,
    /** tolerance of the numbers that stand in the manifest itself */
    loose:
      Object.entries(compare).find(([name]) => name.split(/,\s*/).includes('distance'))?.[1].atol ?? 1e-4,
  };
  const pictures = [...stored.keys()]
    .filter((key) => /^\d+\.image$/.test(key))
    .map((key) => key.split('.')[0]);
  for (const picture of pictures)
    yield* inferenceMode(() => scope(() => [...checkPicture(context, picture)]));
  if ('pair.top10' in expected)
    yield* inferenceMode(() => scope(() => [...checkPair(context, pictures[0], pictures[1])]));
}

interface Context {
  backbone: Backbone;
  device: Device;
  stored: Map<string, Tensor>;
  threshold: number;
  expected: (name: string) => unknown;
  atol: (name: string) => number;
  loose: number;
}

/** uint8 [H, W, 3] -> [1, 3, H, W], normalised */
const inputOf = (picture: Tensor, device: Device): Tensor =>
  normalise(toPlanes(picture.unsqueeze(0), device));

function* checkPicture(context: Context, picture: string): Generator<Check> {
  const { backbone, device, stored, expected, atol, loose } = context;
  const image = stored.get(`${picture}.image`) as Tensor;
  const grey = stored.get(`${picture}.view2_grey`) as Tensor;
  const view1 = stored.get(`${picture}.view1`) ?? image;
  const first = backbone.forwardFeatures(inputOf(view1, device));
  const second = backbone.forwardFeatures(inputOf(grey.unsqueeze(2).expand([-1, -1, 3]), device));
  const { grid } = first;
  const matching = matchRegions(regionsOf(first), regionsOf(second));
  yield compareNumbers(
    `${picture}.match_sim`,
    matching.similarity,
    (stored.get(`${picture}.match_sim`) as Tensor).toFloat32(),
    atol(`${picture}.match_sim`),
  );
  const margins = (stored.get(`${picture}.match_margin`) as Tensor).toFloat32();
  const indices = integers(stored.get(`${picture}.match_index`) as Tensor);
  yield exactly(
    `${picture}.match_index`,
    Array.from(matching.index, (found, i) => (margins[i] < LEAST_MARGIN ? indices[i] : found)),
    indices,
  );
  const ranked = rankedMatches(matching);
  const surest = ranked.slice(0, SUREST);
  if (Number(expected(`${picture}.min_gap_top11`)) >= LEAST_MARGIN)
    yield exactly(
      `${picture}.top10`,
      surest.flatMap(({ query, match }) => [query, match]),
      integers((stored.get(`${picture}.top10`) as Tensor).reshape([-1])),
    );
  const [height, width] = image.shape;
  const score = scoreMatches(surest, { grid, map: ([x, y]) => [1 - x, y], size: [height, width] });
  for (const [name, value] of [
    ['accuracy', score?.accuracy ?? Number.NaN],
    ['distance', score?.distance ?? Number.NaN],
    ['returned_sim', ranked[SUREST].similarity],
  ] as const)
    yield compareNumbers(`${picture}.${name}`, [value], [Number(expected(`${picture}.${name}`))], loose);
  yield* checkAttention(context, picture, backbone.attentionMaps(inputOf(image, device)));
}

function* checkAttention(
  { stored, threshold, expected, atol }: Context,
  picture: string,
  maps: readonly AttentionMap[],
): Generator<Check> {
  for (const [key, value] of stored) {
    const entropy = new RegExp(`^${picture}\\.entropy\\.(\\d+)$`).exec(key);
    if (entropy !== null) {
      const p = maps[Number(entropy[1])].probabilities.select(0, 0);
      yield compareTensors(key, entropyBits(p).mean([1]), value, atol(key));
    }
    const sorted = new RegExp(`^${picture}\\.sorted_attn\\.(\\d+)\\.(\\d+)$`).exec(key);
    if (sorted === null) continue;
    const [block, query] = sorted.slice(1).map(Number);
    const rows = maps[block].probabilities.select(0, 0).select(1, query).unbind(0);
    const heads = rows.map((row) => row.toFloat32());
    const order = headsByEntropy(heads);
    yield compareNumbers(
      key,
      order.flatMap((head) => [...heads[head]]),
      value.toFloat32(),
      atol(`${picture}.sorted_attn.${block}`), // one tolerance for all queries of a block
    );
    const mask = `${picture}.mask.${block}.${query}`;
    if (Number(expected(`${mask}.margin`)) >= LEAST_MASK_MARGIN)
      yield exactly(
        mask,
        order.flatMap((head) => [...massMask(heads[head], threshold)]),
        integers((stored.get(mask) as Tensor).reshape([-1])),
      );
  }
}

function* checkPair(
  { backbone, device, stored, expected, loose }: Context,
  a: string,
  b: string,
): Generator<Check> {
  const [first, second] = [a, b].map((picture) =>
    backbone.forwardFeatures(inputOf(stored.get(`${picture}.image`) as Tensor, device)),
  );
  const regions = [regionsOf(first), regionsOf(second)];
  const rows = z.array(pairRow).parse(expected('pair.top10'));
  const ranked = rankedMatches(matchRegions(regions[0], regions[1])).slice(0, rows.length);
  yield exactly(
    'pair.top10',
    ranked.flatMap(({ query, match }) => [query, match]),
    rows.flatMap(([query, match]) => [query, match] as number[]),
  );
  yield compareNumbers(
    'pair.top10 similarity',
    ranked.map(({ similarity }) => similarity),
    rows.map(([, , similarity]) => similarity),
    loose,
  );
  const pooled = ({ pooled: all }: Features) => all.select(0, 0);
  for (const [name, region, picture, similarity] of z.array(globalRow).parse(expected('pair.global'))) {
    const best = bestPlace(pooled(name.startsWith('fea1') ? first : second), regions[picture - 1]);
    yield exactly(`pair.global ${name} in ${picture}`, [best.region], [region]);
    yield compareNumbers(
      `pair.global ${name} in ${picture} similarity`,
      [best.similarity],
      [similarity],
      loose,
    );
  }
}

const integers = (x: Tensor): number[] => Array.from(x.toArray() as ArrayLike<number | bigint>, Number);
const exactly = (name: string, mine: readonly number[], golden: readonly number[]): Check =>
  compareNumbers(name, mine, golden, 0, 0);
