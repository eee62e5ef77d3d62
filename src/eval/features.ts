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
  type Device,
  type DType,
  empty,
  inferenceMode,
  scope,
  type Tensor,
  tensor,
} from '../torch/index.js';
import { freeze } from './frozen.js';

/** The backbone's output, or what its last blocks say, side by side. */
export type FeatureKind = 'pooled' | { blocks: number; avgpoolPatchTokens: boolean };

export interface FeatureOptions {
  plan: EvaluationPlan;
  batchSize: number;
  workers: number;
  device: Device;
  precision?: DType;
  /** the pictures wanted, in this order; default all */
  indices?: Uint32Array;
  cache?: PixelCache;
  /** default 'pooled' */
  kind?: FeatureKind;
  /** default true: divided by their length */
  unitLength?: boolean;
  /** random crops in place of the centre ones, see `EvaluationLoader` */
  random?: { seed: number; epoch: number };
  /** called after each batch with the pictures done so far */
  onProgress?: (done: number) => void;
}

/** The rows of one batch; valid until the next one is asked for. */
export interface FeatureBatch {
  /** its number; batches of which nothing could be read are missing */
  iteration: number;
  /** float32 [n, D], on the device that computed */
  features: Tensor;
  /** [n] -1 = no label */
  labels: Int32Array;
  /** [n] which picture each row is of; unreadable ones are missing */
  indices: Int32Array;
}

export interface FeatureTable {
  /** float32 [n, D], on the CPU */
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

/** Features of the pictures of `source`. The modes of the backbone's parts are put back afterwards. */
export async function extractFeatures(
  backbone: Backbone,
  source: ImageSource,
  options: FeatureOptions,
): Promise<FeatureTable> {
  return collectRows(featureBatches(backbone, source, options), source, options.indices?.length);
}

/** The pixels themselves as features: what a network has to beat. */
export async function extractPixels(source: ImageSource, options: FeatureOptions): Promise<FeatureTable> {
  return collectRows(pixelBatches(source, options), source, options.indices?.length);
}

/** As `featureBatches`, of the pixels themselves. */
export function pixelBatches(
  source: ImageSource,
  options: FeatureOptions,
): AsyncGenerator<FeatureBatch, number, void> {
  return describeBatches(source, options, (x) => x.reshape([x.shape[0], -1]));
}

/** Features batch by batch; nothing is kept. The generator's result is the number of unreadable pictures. */
export async function* featureBatches(
  backbone: Backbone,
  source: ImageSource,
  options: FeatureOptions,
): AsyncGenerator<FeatureBatch, number, void> {
  const { kind = 'pooled' } = options;
  const describe =
    kind === 'pooled'
      ? (x: Tensor) => backbone.forwardFeatures(x).pooled
      : (x: Tensor) => backbone.blockFeatures(x, kind.blocks, kind);
  const restore = freeze(backbone);
  try {
    return yield* describeBatches(source, options, describe);
  } finally {
    restore();
  }
}

async function* describeBatches(
  source: ImageSource,
  options: FeatureOptions,
  describe: (x: Tensor) => Tensor,
): AsyncGenerator<FeatureBatch, number, void> {
  const { plan, batchSize, workers, device, precision = 'float32', indices, cache, random } = options;
  const { unitLength = true, onProgress } = options;
  const loader = new EvaluationLoader({
    source,
    batchSize,
    workers,
    plan,
    ...(indices !== undefined && { indices }),
    ...(cache !== undefined && { cache }),
    ...(random !== undefined && { random }),
  });
  let done = 0;
  try {
    for await (const batch of loader.batches()) {
      const features = inferenceMode(() =>
        scope(() => {
          const x = normalise(toPlanes(batch.pixels, device));
          const run = () => describe(x).to({ dtype: 'float32' });
          const found = precision === 'float32' ? run() : autocast({ device, dtype: precision }, run);
          return unitLength ? found.div(lengths(found)) : found;
        }),
      ).keep();
      try {
        done += batch.indices.length;
        yield { iteration: batch.iteration, features, labels: batch.labels, indices: batch.indices };
      } finally {
        features.dispose();
      }
      onProgress?.(done);
      await new Promise(setImmediate); // signals and other work get their turn
    }
    return loader.badImages.size;
  } finally {
    await loader.close();
  }
}

/** x: [n, D] -> [n, 1] lengths of the rows, never 0. */
export function lengths(x: Tensor): Tensor {
  return scope(() => x.square().sum([1], true).sqrt().clampMin(1e-12));
}

/** All rows in one table that is as large as it will be from the start. */
export async function collectRows(
  batches: AsyncGenerator<FeatureBatch, number, void>,
  source: ImageSource,
  most: number = source.length,
): Promise<FeatureTable> {
  const kept: number[] = [];
  const labels: number[] = [];
  let table: Tensor | undefined;
  try {
    let next = await batches.next();
    for (; next.done !== true; next = await batches.next()) {
      const { features, labels: own, indices } = next.value;
      table ??= inferenceMode(() => empty([most, features.shape[1]])).keep();
      const start = kept.length;
      const target = table;
      inferenceMode(() =>
        scope(() => {
          target.narrow(0, start, indices.length).copy_(features);
        }),
      );
      kept.push(...indices);
      labels.push(...own);
    }
    if (table === undefined)
      throw new UserError(
        'data',
        `none of the ${source.length} pictures of ${source.description} can be read.`,
      );
    const whole = table;
    // Files hold the memory behind a tensor as a whole: nothing that happens to lie there shall get into them.
    inferenceMode(() =>
      scope(() => {
        whole.narrow(0, kept.length, most - kept.length).zero_();
      }),
    );
    return {
      features: inferenceMode(() => whole.narrow(0, 0, kept.length)).keep(),
      labels: tensor(BigInt64Array.from(labels, BigInt)).keep(),
      indices: Int32Array.from(kept),
      skipped: next.value,
    };
  } finally {
    await batches.return(0);
    table?.dispose();
  }
}
