/** Weighted k-nearest-neighbour accuracy of frozen features (Wu et al. 2018, as DINO evaluates). */

import { UserError } from '../errors.js';
import { inferenceMode, scope, type Tensor, zeros } from '../torch/index.js';

export interface LabelledFeatures {
  /** [N, D], of unit length */
  features: Tensor;
  /** int64 [N], from 0 */
  labels: Tensor;
}

export interface KnnOptions {
  /** numbers of neighbours; more than there are pictures are cut to that */
  ks: readonly number[];
  temperatures: readonly number[];
  /** found from the labels where it is not given */
  numClasses?: number;
}

export interface KnnResult {
  k: number;
  temperature: number;
  /** percent */
  top1: number;
  /** percent; with fewer than five classes, among all of them */
  top5: number;
}

/** Similarities held at a time. */
const ELEMENTS = 1 << 25;

/**
 * Each of the k most similar pictures of the bank votes for its class with exp(similarity / T). One pass over
 * the bank serves all k and temperatures; memory is bounded whatever the sizes.
 */
export function knnAccuracy(
  bank: LabelledFeatures,
  queries: LabelledFeatures,
  options: KnnOptions,
): KnnResult[] {
  const [size, width] = bank.features.sizes(2);
  const [count, queryWidth] = queries.features.sizes(2);
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
      const bankColumns = bank.features.t();
      const chunk = Math.max(1, Math.floor(ELEMENTS / Math.max(size, largestK * 8)));
      for (let start = 0; start < count; start += chunk)
        scope(() => {
          const rows = Math.min(chunk, count - start);
          const labels = queries.labels.narrow(0, start, rows).unsqueeze(1);
          const [similarity, nearest] = queries.features
            .narrow(0, start, rows)
            .matmul(bankColumns)
            .topk(largestK, 1, true, true);
          const votes = bank.labels.indexSelect(0, nearest.reshape([-1])).view([rows, largestK]);
          for (const run of runs)
            scope(() => {
              const k = Math.min(run.k, largestK);
              const weight = similarity.narrow(1, 0, k).div(run.temperature).exp();
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
