/** Which region of one picture a network finds again in another: drawn for two, measured over many. */

import { decode, evaluationView, type ImageSource } from '../data/index.js';
import { correspondenceFigure, type Match, type Picture } from '../draw/index.js';
import { UserError } from '../errors.js';
import {
  bestPlace,
  type CorrespondenceScore,
  evaluationPlan,
  type GridSize,
  matchRegions,
  type Place,
  placeOf,
  type RegionMatch,
  rankedMatches,
  regionsOf,
  scoreMatches,
} from '../eval/index.js';
import { inferenceMode, scope } from '../torch/index.js';
import { type Analysis, type Drawing, percent } from './analysis.js';
import { inputOf, mirror, mirroredView, type Subject } from './views.js';

/** As many of the surest matches are drawn and scored as the original does. */
export const SUREST = 10;

export interface MatchedPair {
  grid: GridSize;
  /** of all regions of the first picture, the surest first */
  ranked: RegionMatch[];
  /** where each picture's whole feature fits best: [of the first, of the second], each in [first, second] */
  global: { region: number; similarity: number }[][];
}

/** Both pictures have one size. */
export function matchPair({ backbone, device }: Subject, left: Picture, right: Picture): MatchedPair {
  return inferenceMode(() =>
    scope(() => {
      const both = backbone.forwardFeatures(inputOf([left, right], device));
      const regions = [regionsOf(both, 0), regionsOf(both, 1)];
      const hasPlace = both.pooled.shape[1] === both.tokens.shape[2];
      return {
        grid: both.grid,
        ranked: rankedMatches(matchRegions(regions[0], regions[1])),
        global: hasPlace
          ? [0, 1].map((i) => regions.map((own) => bestPlace(both.pooled.select(0, i), own)))
          : [],
      };
    }),
  );
}

const toMatch =
  (grid: GridSize) =>
  ({ query, match, similarity }: RegionMatch): Match => ({
    from: placeOf(query, grid),
    to: placeOf(match, grid),
    similarity,
  });

/** The surest matches as lines, with the place where the first picture's whole feature fits best in each. */
export async function drawCorrespondence(
  subject: Subject,
  left: Picture,
  right: Picture,
  titles: readonly [left: string, right: string],
): Promise<Analysis> {
  const { grid, ranked, global } = matchPair(subject, left, right);
  const surest = ranked.slice(0, SUREST);
  const focus = global.length === 0 ? undefined : global[0].map(({ region }) => placeOf(region, grid));
  return {
    title: 'Correspondence',
    summary: `The ${surest.length} surest of ${ranked.length} matches between regions, cosine ${surest[0].similarity.toFixed(3)} to ${surest[surest.length - 1].similarity.toFixed(3)}. Rings: where the first picture's whole feature fits best.`,
    drawings: [
      {
        name: 'correspondence',
        caption: 'Each line joins a region with its most similar one; the colour is the cosine.',
        figure: await correspondenceFigure(left, right, surest.map(toMatch(grid)), {
          title: 'region correspondence',
          leftTitle: titles[0],
          rightTitle: titles[1],
          ...(focus && { focus: { from: focus[0], to: focus[1] } }),
        }),
      },
    ],
    numbers: { grid, matches: ranked, global },
  };
}

export interface CorrespondenceData {
  source: ImageSource;
  indices: Uint32Array;
  seed: number;
  onProgress?: (done: number) => void;
}

/** The surest matches of many pictures with their mirrored, grey views: accuracy, distance and similarity. */
export async function measureCorrespondence(subject: Subject, data: CorrespondenceData): Promise<Analysis> {
  const plan = evaluationPlan(subject.imageSize);
  const pairs = async function* (): AsyncGenerator<TruePair> {
    for (const index of data.indices) {
      let left: Picture;
      try {
        left = evaluationView(await decode(await data.source.read(index)), plan);
      } catch {
        yield { unreadable: data.source.key(index) };
        continue;
      }
      yield {
        name: data.source.key(index),
        left,
        right: mirroredView(left, data.seed, index),
        map: mirror,
      };
    }
  };
  return measurePairs(subject, pairs(), {
    title: 'Correspondence with mirrored views',
    truth: 'a mirrored grey view of itself',
    surest: SUREST,
    tolerance: 0,
    ...(data.onProgress && { onProgress: data.onProgress }),
  });
}

export type TruePair =
  | { name: string; left: Picture; right: Picture; map: (place: Place) => Place }
  | { unreadable: string };

export interface MeasureOptions {
  title: string;
  /** what the second picture is, in words */
  truth: string;
  /** how many of the surest matches are scored; all where undefined */
  surest?: number;
  /** by how many regions a match may miss and still count */
  tolerance: number;
  onProgress?: (done: number) => void;
}

const SHOWN = 3;
const slug = (title: string): string => title.toLowerCase().replaceAll(' ', '-');

/** Scores the matches of pairs whose true correspondence is known. */
export async function measurePairs(
  subject: Subject,
  pairs: AsyncIterable<TruePair>,
  { title, truth, surest, tolerance, onProgress }: MeasureOptions,
): Promise<Analysis> {
  const scores: (CorrespondenceScore & { name: string })[] = [];
  const drawings: Drawing[] = [];
  const unreadable: string[] = [];
  let done = 0;
  for await (const pair of pairs) {
    onProgress?.(++done);
    if ('unreadable' in pair) {
      unreadable.push(pair.unreadable);
      continue;
    }
    const { name, left, right, map } = pair;
    const { grid, ranked } = matchPair(subject, left, right);
    const judged = ranked.slice(0, surest);
    const score = scoreMatches(judged, { grid, map, size: [right.height, right.width], tolerance });
    if (score === undefined) continue;
    scores.push({ name, ...score });
    if (drawings.length < SHOWN)
      drawings.push({
        name: `${slug(title)}-${drawings.length + 1}`,
        caption: `${name}: ${percent(score.accuracy)} right, ${score.distance.toFixed(1)} pixels off on average.`,
        figure: await correspondenceFigure(left, right, judged.slice(0, 3 * SUREST).map(toMatch(grid)), {
          title: `correspondence of ${name}`,
        }),
      });
  }
  if (scores.length === 0)
    throw new UserError('data', 'No pair of pictures could be judged; check --data_path or --pairs.');
  const mean = (pick: (score: CorrespondenceScore) => number) =>
    scores.reduce((sum, score) => sum + pick(score), 0) / scores.length;
  const result = {
    pictures: scores.length,
    accuracy: mean(({ accuracy }) => accuracy),
    distance: mean(({ distance }) => distance),
    similarity: mean(({ similarity }) => similarity),
  };
  return {
    title,
    summary: `Over ${result.pictures} pictures, each with ${truth}: ${percent(result.accuracy)} of ${surest === undefined ? 'all' : `the ${surest} surest`} matches hit the right region${tolerance > 0 ? ` or one beside it` : ''}; they miss by ${result.distance.toFixed(1)} pixels on average, at a mean cosine of ${result.similarity.toFixed(3)}.`,
    drawings,
    numbers: { ...result, tolerance, unreadable, perPicture: scores },
  };
}
