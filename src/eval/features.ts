/** Frozen features: what a backbone in evaluation mode says of every picture. */

import {
  EvaluationLoader,
  type EvaluationPlan,
  type ImageSource,
  normalise,
  type PixelCache,
  toPlanes,
} from '../data/index.js';
import { UserError } from '../errors.js';
import type { Backbone } from '../models/index.js';
import {
  autocast,
  cat,
  type Device,
  type DType,
  inferenceMode,
  scope,
  type Tensor,
  tensor,
} from '../torch/index.js';

export interface FeatureOptions {
  plan: EvaluationPlan;
  batchSize: number;
  workers: number;
  device: Device;
  precision?: DType;
  /** the pictures wanted; default all */
  indices?: Uint32Array;
  cache?: PixelCache;
  /** called after each batch with the pictures done so far */
  onProgress?: (done: number) => void;
}

export interface FeatureTable {
  /** float32 [n, D], of unit length, on the CPU */
  features: Tensor;
  /** int64 [n]; -1 = no label */
  labels: Tensor;
  /** which picture each row is of; unreadable ones are missing */
  indices: Int32Array;
  /** unreadable pictures */
  skipped: number;
}

/** The evaluation crop that goes with crops of `size`: the middle of a picture resized 8/7 as large, as in the paper. */
export function evaluationPlan(size: number): EvaluationPlan {
  return { resize: Math.round((size * 8) / 7), size };
}

/** Pooled features of all pictures of `source`. The backbone's mode is put back afterwards. */
export async function extractFeatures(
  backbone: Backbone,
  source: ImageSource,
  options: FeatureOptions,
): Promise<FeatureTable> {
  return extract(source, options, backbone, (x) => backbone.forwardFeatures(x).pooled);
}

/** The pixels themselves as features: what a network has to beat. */
export async function extractPixels(source: ImageSource, options: FeatureOptions): Promise<FeatureTable> {
  return extract(source, options, undefined, (x) => x.reshape([x.shape[0], -1]));
}

async function extract(
  source: ImageSource,
  options: FeatureOptions,
  backbone: Backbone | undefined,
  describe: (x: Tensor) => Tensor,
): Promise<FeatureTable> {
  const { plan, batchSize, workers, device, precision = 'float32', indices, cache, onProgress } = options;
  const loader = new EvaluationLoader({
    source,
    batchSize,
    workers,
    plan,
    ...(indices !== undefined && { indices }),
    ...(cache !== undefined && { cache }),
  });
  const wasTraining = backbone?.training ?? false;
  backbone?.eval();
  const rows: Tensor[] = [];
  const kept: number[] = [];
  const labels: number[] = [];
  try {
    for await (const batch of loader.batches()) {
      rows.push(
        inferenceMode(() =>
          scope(() => {
            const x = normalise(toPlanes(batch.pixels, device));
            const run = () => describe(x).to({ dtype: 'float32' });
            const found = precision === 'float32' ? run() : autocast({ device, dtype: precision }, run);
            const length = found.square().sum([1], true).sqrt().clampMin(1e-12);
            return found.div(length).to({ device: 'cpu' });
          }),
        ).keep(),
      );
      kept.push(...batch.indices);
      labels.push(...batch.labels);
      onProgress?.(kept.length);
      await new Promise(setImmediate); // signals and other work get their turn
    }
    if (rows.length === 0)
      throw new UserError(
        'data',
        `none of the ${source.length} pictures of ${source.description} can be read.`,
      );
    const features = inferenceMode(() => cat(rows)).keep();
    return {
      features,
      labels: tensor(BigInt64Array.from(labels, BigInt)).keep(),
      indices: Int32Array.from(kept),
      skipped: loader.badImages.size,
    };
  } finally {
    for (const row of rows) row.dispose();
    if (wasTraining) backbone?.train();
    await loader.close();
  }
}
