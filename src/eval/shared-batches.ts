/** Features that several ranks find together: each describes its part of the pictures, and all get all rows. */

import type { ImageSource } from '../data/index.js';
import { alone, type Collectives, sumValues } from '../dist/index.js';
import { UserError } from '../errors.js';
import type { Backbone } from '../models/index.js';
import { cat, noGrad, scope, type Tensor, tensor, zeros } from '../torch/index.js';
import {
  collectRows,
  type FeatureBatch,
  type FeatureOptions,
  type FeatureTable,
  featureBatches,
  pixelBatches,
} from './features.js';

/** The rows of all ranks of one round. */
export interface SharedBatch extends FeatureBatch {
  /** whether a rank wished to end before this round; the same on all ranks */
  isAskedToStop: boolean;
}

/** Describes pictures batch by batch; its result is the number of unreadable ones. */
type Describe = (options: FeatureOptions) => AsyncGenerator<FeatureBatch, number, void>;

/**
 * The pictures of a rank: every `worldSize`-th batch as a whole. So each row comes out of a batch of the same pictures
 * as in one process, and is the same in every bit.
 */
export function shareOf(
  wanted: Uint32Array,
  batchSize: number,
  { rank, worldSize }: Collectives,
): Uint32Array {
  return wanted.filter((_, i) => Math.floor(i / batchSize) % worldSize === rank);
}

/**
 * Batches of all ranks, a round at a time: rows come in the order of the wanted pictures, whatever the number of ranks.
 * Ranks exchange what they have after every batch, so none gets further ahead of the others than that. The generator's
 * result is the number of unreadable pictures of all ranks. `wishes` says whether this rank was asked to end.
 */
export async function* sharedBatches(
  describe: Describe,
  source: ImageSource,
  options: FeatureOptions,
  collectives: Collectives,
  wishes: () => boolean = () => false,
): AsyncGenerator<SharedBatch, number, void> {
  if (collectives.worldSize === 1) return yield* ownBatches(describe(options), wishes);
  const { batchSize, onProgress } = options;
  const wanted = options.indices ?? Uint32Array.from({ length: source.length }, (_, i) => i);
  const indices = shareOf(wanted, batchSize, collectives);
  const rounds = Math.ceil(Math.ceil(wanted.length / batchSize) / collectives.worldSize);
  // Progress is that of all ranks together.
  const { onProgress: _, ...own } = options;
  const batches = indices.length === 0 ? undefined : describe({ ...own, indices });
  let done = 0;
  try {
    let next: IteratorResult<FeatureBatch, number> = (await batches?.next()) ?? { done: true, value: 0 };
    for (let round = 0; round < rounds; round++) {
      const given = next.done !== true && next.value.iteration === round ? next.value : undefined;
      const { kept, ...batch } = exchange(given, round, batchSize, wishes(), collectives);
      if (batches !== undefined && given !== undefined) next = await batches.next();
      try {
        done += batch.indices.length;
        if (batch.indices.length > 0 || batch.isAskedToStop) yield batch;
      } finally {
        kept.dispose();
      }
      onProgress?.(done);
    }
    return sumValues(collectives, [next.done === true ? next.value : 0])[0];
  } finally {
    await batches?.return(0);
  }
}

async function* ownBatches(
  batches: AsyncGenerator<FeatureBatch, number, void>,
  wishes: () => boolean,
): AsyncGenerator<SharedBatch, number, void> {
  try {
    let next = await batches.next();
    for (; next.done !== true; next = await batches.next()) yield { ...next.value, isAskedToStop: wishes() };
    return next.value;
  } finally {
    await batches.return(0);
  }
}

/** Two collectives: what each rank has, then the features, filled up to the longest and cut again. */
function exchange(
  own: FeatureBatch | undefined,
  iteration: number,
  batchSize: number,
  wishes: boolean,
  collectives: Collectives,
): SharedBatch & { kept: Tensor } {
  const count = own?.indices.length ?? 0;
  const facts = new Int32Array(3 + 2 * batchSize);
  facts.set([count, own?.features.shape[1] ?? 0, Number(wishes)]);
  if (own !== undefined) {
    facts.set(own.indices, 3);
    facts.set(own.labels, 3 + batchSize);
  }
  return noGrad(() => {
    const all = scope(() => Int32Array.from(collectives.allGather(tensor(facts)).toArray(), Number));
    const ranks = Array.from({ length: collectives.worldSize }, (_, rank) =>
      all.subarray(rank * facts.length, (rank + 1) * facts.length),
    );
    const most = Math.max(...ranks.map(([rows]) => rows));
    const width = Math.max(...ranks.map((fact) => fact[1]));
    const features = scope(() => {
      // On the CPU, where tables are kept, and out of inference mode, whose tensors are not for other threads.
      const padded = zeros([most, width]);
      if (own !== undefined) padded.narrow(0, 0, count).copy_(own.features);
      const gathered = collectives.allGather(padded); // [world, most, width]
      return cat(ranks.map(([rows], rank) => gathered.select(0, rank).narrow(0, 0, rows)));
    }).keep();
    const part = (from: number) =>
      Int32Array.from(ranks.flatMap((fact) => [...fact.subarray(from, from + fact[0])]));
    return {
      iteration,
      features,
      kept: features,
      indices: part(3),
      labels: part(3 + batchSize),
      isAskedToStop: ranks.some((fact) => fact[2] === 1),
    };
  });
}

/**
 * As `extractFeatures`, over all ranks; without a backbone as `extractPixels`. The table is the one that a single
 * process would compute, in every bit, as long as it computes with as many threads.
 */
export async function extractSharedFeatures(
  backbone: Backbone | undefined,
  source: ImageSource,
  options: FeatureOptions,
  collectives: Collectives = alone,
): Promise<FeatureTable> {
  const batches = describedBy(backbone, source, options, collectives);
  const table = await collectRows(batches, source, options.indices?.length);
  // A loader looks at its own part only.
  if (table.skipped > MOST_BAD * source.length)
    throw new UserError(
      'data',
      `${table.skipped} of ${source.length} pictures of ${source.description} cannot be read, more than the ${MOST_BAD * 100}% that are allowed.`,
    );
  return table;
}

/** The same for rank 0 alone; the others help, keep nothing, and get undefined. */
export async function extractForFirst(
  backbone: Backbone,
  source: ImageSource,
  options: FeatureOptions,
  collectives: Collectives = alone,
): Promise<FeatureTable | undefined> {
  if (collectives.rank === 0) return extractSharedFeatures(backbone, source, options, collectives);
  const batches = describedBy(backbone, source, options, collectives);
  for (let next = await batches.next(); next.done !== true; ) next = await batches.next();
  return undefined;
}

function describedBy(
  backbone: Backbone | undefined,
  source: ImageSource,
  options: FeatureOptions,
  collectives: Collectives,
): ReturnType<typeof sharedBatches> {
  const describe: Describe = (own) =>
    backbone === undefined ? pixelBatches(source, own) : featureBatches(backbone, source, own);
  return sharedBatches(describe, source, options, collectives);
}

/** As the loaders' own limit. */
const MOST_BAD = 0.5;
