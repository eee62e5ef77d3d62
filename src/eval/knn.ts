/** Weighted k-nearest-neighbour accuracy of frozen features (Wu et al. 2018, as DINO evaluates). */

import { alone, type Collectives, sumValues } from '../dist/index.js';
import { UserError } from '../errors.js';
import { type Device, inferenceMode, scope, type Tensor, TensorBase, zeros } from '../torch/index.js';
import { type FeatureRows, nearestRows, QUERY_ROWS, tensorRows } from './neighbours.js';

export interface LabelledFeatures {
  /** [N, D], of unit length; rows that lie on a disk are read in blocks */
  features: Tensor | FeatureRows;
  /** int64 [N], from 0 */
  labels: Tensor;
}

export interface KnnOptions {
  /** numbers of neighbours; more than there are pictures are cut to that */
  ks: readonly number[];
  temperatures: readonly number[];
  /** found from the labels where it is not given */
  numClasses?: number;
  /** where similarities are computed; default: where the features lie */
  device?: Device;
  /** ranks that have the same features and share the queries; default: this process alone */
  collectives?: Collectives;
}

export interface KnnResult {
  k: number;
  temperature: number;
  /** percent */
  top1: number;
  /** percent; with fewer than five classes, among all of them */
  top5: number;
}

/** Queries whose votes are counted at a time: with a thousand classes 4 MB of scores. */
const VOTE_ROWS = 1024;

/**
 * Each of the k most similar pictures of the bank votes for its class with exp(similarity / T). One pass over
 * the bank serves all k and temperatures, and the bank may lie on a disk; memory is bounded whatever the sizes. Several
 * ranks classify a part of the queries each, and all get the whole result.
 */
export function knnAccuracy(
  bank: LabelledFeatures,
  queries: LabelledFeatures,
  options: KnnOptions,
): KnnResult[] {
  const { collectives = alone } = options;
  const [from, to] = [rowsOf(bank, options.device), rowsOf(queries, options.device)];
  const [size, width] = [from.count, from.width];
  const [count, queryWidth] = [to.count, to.width];
  if (size === 0 || count === 0)
    throw new UserError(
      'data',
      `k-NN needs features on both sides, received ${size} to vote and ${count} to classify.`,
    );
  if (width !== queryWidth)
    throw new UserError(
      'data',
      `the features differ in width: ${width} of the training pictures, ${queryWidth} of the others. Dump both with the same network.`,
    );
  const runs = options.ks.flatMap((k) => options.temperatures.map((temperature) => ({ k, temperature })));
  const part = partOf(count, collectives);
  const highest = scope(() => Math.max(bank.labels.max().item(), queries.labels.max().item()));
  const numClasses = Math.max(options.numClasses ?? 0, highest + 1);
  const sides = { from, bankLabels: bank.labels, to, queryLabels: queries.labels };
  const own = rightAnswers(sides, part, runs, numClasses);
  const sums = sumValues(collectives, own);
  return runs.map(({ k, temperature }, i) => ({
    k,
    temperature,
    top1: (100 * sums[2 * i]) / count,
    top5: (100 * sums[2 * i + 1]) / count,
  }));
}

interface Sides {
  from: FeatureRows;
  bankLabels: Tensor;
  to: FeatureRows;
  queryLabels: Tensor;
}

/** Right answers of a part of the queries, among the first and among the first five, for each of `runs`. */
function rightAnswers(
  { from, to, ...labelled }: Sides,
  part: Part,
  runs: readonly { k: number; temperature: number }[],
  numClasses: number,
): Float64Array<ArrayBuffer> {
  const counts = new Float64Array(2 * runs.length);
  if (part.count === 0) return counts;
  const largestK = Math.min(Math.max(...runs.map(({ k }) => k)), from.count);
  inferenceMode(() =>
    scope(() => {
      const { similarity, index } = nearestRows(from, slice(to, part), largestK);
      const { device } = similarity;
      const bankLabels = labelled.bankLabels.to({ device });
      const queryLabels = labelled.queryLabels.narrow(0, part.start, part.count).to({ device });
      for (let start = 0; start < part.count; start += VOTE_ROWS)
        scope(() => {
          const rows = Math.min(VOTE_ROWS, part.count - start);
          const labels = queryLabels.narrow(0, start, rows).unsqueeze(1);
          const near = similarity.narrow(0, start, rows);
          const votes = bankLabels
            .indexSelect(0, index.narrow(0, start, rows).reshape([-1]))
            .view([rows, largestK]);
          for (const [i, run] of runs.entries())
            scope(() => {
              const k = Math.min(run.k, largestK);
              const weight = near.narrow(1, 0, k).div(run.temperature).exp();
              const scores = zeros([rows, numClasses], {
                dtype: weight.dtype,
                device: weight.device,
              }).scatterAdd_(1, votes.narrow(1, 0, k), weight);
              const [, ranked] = scores.topk(Math.min(5, numClasses), 1, true, true);
              const hits = ranked.eq(labels);
              counts[2 * i] += hits.narrow(1, 0, 1).sumAll().item();
              counts[2 * i + 1] += hits.sumAll().item();
            });
        });
    }),
  );
  return counts;
}

/** Rows from `start` on. */
interface Part {
  start: number;
  count: number;
}

/** The queries of a rank: whole blocks of them, so that what is multiplied is the same as in one process. */
function partOf(count: number, { rank, worldSize }: Collectives): Part {
  const blocks = Math.ceil(count / QUERY_ROWS);
  const edge = (place: number) => Math.min(count, Math.floor((place * blocks) / worldSize) * QUERY_ROWS);
  return { start: edge(rank), count: edge(rank + 1) - edge(rank) };
}

const slice = (rows: FeatureRows, { start, count }: Part): FeatureRows => ({
  ...rows,
  count,
  rows: (first, few) => rows.rows(start + first, few),
});

/** The features of one side, block by block on the device that compares them. */
function rowsOf({ features }: LabelledFeatures, device: Device | undefined): FeatureRows {
  const rows = features instanceof TensorBase ? tensorRows(features as Tensor) : (features as FeatureRows);
  if (device === undefined) return rows;
  return { ...rows, rows: (start, count) => scope(() => rows.rows(start, count).to({ device })) };
}
