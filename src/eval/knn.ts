/** Weighted k-nearest-neighbour accuracy of frozen features (Wu et al. 2018, as DINO evaluates). */

import { UserError } from '../errors.js';
import { type Device, inferenceMode, scope, type Tensor, TensorBase, zeros } from '../torch/index.js';
import { type FeatureRows, nearestRows, tensorRows } from './neighbours.js';

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
 * the bank serves all k and temperatures, and the bank may lie on a disk; memory is bounded whatever the sizes.
 */
export function knnAccuracy(
  bank: LabelledFeatures,
  queries: LabelledFeatures,
  options: KnnOptions,
): KnnResult[] {
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
  return inferenceMode(() =>
    scope(() => {
      const highest = Math.max(bank.labels.max().item(), queries.labels.max().item());
      const numClasses = Math.max(options.numClasses ?? 0, highest + 1);
      const largestK = Math.min(Math.max(...options.ks), size);
      const runs = options.ks.flatMap((k) =>
        options.temperatures.map((temperature) => ({ k, temperature, hits1: 0, hits5: 0 })),
      );
      const { similarity, index } = nearestRows(from, to, largestK);
      const { device } = similarity;
      const bankLabels = bank.labels.to({ device });
      const queryLabels = queries.labels.to({ device });
      for (let start = 0; start < count; start += VOTE_ROWS)
        scope(() => {
          const rows = Math.min(VOTE_ROWS, count - start);
          const labels = queryLabels.narrow(0, start, rows).unsqueeze(1);
          const near = similarity.narrow(0, start, rows);
          const votes = bankLabels
            .indexSelect(0, index.narrow(0, start, rows).reshape([-1]))
            .view([rows, largestK]);
          for (const run of runs)
            scope(() => {
              const k = Math.min(run.k, largestK);
              const weight = near.narrow(1, 0, k).div(run.temperature).exp();
              const scores = zeros([rows, numClasses], {
                dtype: weight.dtype,
                device: weight.device,
              }).scatterAdd_(1, votes.narrow(1, 0, k), weight);
              const [, ranked] = scores.topk(Math.min(5, numClasses), 1, true, true);
              const hits = ranked.eq(labels);
              run.hits1 += hits.narrow(1, 0, 1).sumAll().item();
              run.hits5 += hits.sumAll().item();
            });
        });
      return runs.map(({ k, temperature, hits1, hits5 }) => ({
        k,
        temperature,
        top1: (100 * hits1) / count,
        top5: (100 * hits5) / count,
      }));
    }),
  );
}

/** The features of one side, block by block on the device that compares them. */
function rowsOf({ features }: LabelledFeatures, device: Device | undefined): FeatureRows {
  const rows = features instanceof TensorBase ? tensorRows(features as Tensor) : (features as FeatureRows);
  if (device === undefined) return rows;
  return { ...rows, rows: (start, count) => scope(() => rows.rows(start, count).to({ device })) };
}
