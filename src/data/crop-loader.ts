/** Batches of random crops for training. */

import { UserError } from '../errors.js';
import { fromBuffer, type Tensor } from '../torch/index.js';
import { BatchEngine, type EngineOptions, type LoaderStats } from './batch-engine.js';
import { createSampler } from './create-sampler.js';
import type { CropGroup, CropPlan } from './crop-plan.js';
import { checkPlan } from './crop-plan.js';
import type { ErasingDraws } from './erase-draws.js';
import { noChanges, type PhotometricDraws } from './photometric.js';
import type { BadImage } from './producer.js';
import { iterationsPerEpoch, type Sampler } from './sampler.js';

/**
 * Who changes the colours: the workers, crop by crop, or the training device, for the whole batch. The bytes are
 * the same; a GPU does it on the side, but on a CPU the workers take a small part of the time.
 */
export type PhotometricPlace = 'workers' | 'device';

export interface CropLoaderOptions extends EngineOptions {
  plan: CropPlan;
  seed: number;
  rank?: number;
  world?: number;
  /** default true */
  shuffle?: boolean;
  /** the order of each epoch, in place of one from seed, rank and world */
  sampler?: Sampler;
  /** default 'device' */
  photometric?: PhotometricPlace;
}

export interface CropBatchGroup {
  size: number;
  views: number;
  role: CropGroup['role'];
  /** uint8 [views * batch, size, size, 3]: all rows of the first view, then of the second … */
  crops: Tensor;
  /** what the training device has yet to do to the same rows: nothing at all where the workers did it */
  draws: PhotometricDraws;
  /** what is erased after the normalisation, where the plan erases */
  erasing?: ErasingDraws;
}

/** Valid until the next batch is asked for: the memory is used again. */
export interface CropBatch {
  epoch: number;
  iteration: number;
  /** [batch] the pictures used (an unreadable one is replaced by another) */
  indices: Int32Array;
  /** [batch] -1 = no label */
  labels: Int32Array;
  groups: readonly CropBatchGroup[];
}

/**
 * Random multi-crops. The content of a batch depends on (seed, epoch, picture) and the order on (seed, epoch,
 * rank, world) alone: not on the number of workers, nor on where the epoch was entered.
 */
export class CropLoader {
  /** batches an epoch has; an incomplete last one is dropped */
  readonly iterations: number;
  private readonly engine: BatchEngine;
  private readonly sampler: Sampler;
  /** by slot */
  private readonly groups: CropBatchGroup[][];

  constructor(options: CropLoaderOptions) {
    const { plan, seed, source, batchSize, rank = 0, world = 1 } = options;
    checkPlan(plan);
    this.sampler = options.sampler ?? createSampler('distributed', source, options);
    this.iterations = iterationsPerEpoch(this.sampler.length, batchSize);
    if (this.iterations === 0)
      throw new UserError(
        'data',
        `a batch of ${batchSize} pictures${world > 1 ? ` on each of ${world} ranks` : ''} is larger than an epoch ` +
          `(${this.sampler.length} pictures of ${source.length}). Use a smaller batch size.`,
      );
    if (!(rank >= 0 && rank < world)) throw new Error(`internal: rank ${rank} of ${world}`);
    const colours = options.photometric === 'workers';
    this.engine = new BatchEngine(options, { plan, seed, colours });
    this.groups = this.engine.slots.map((slot) =>
      slot.groups.map(({ group, cropsOffset, draws, erasing }) => {
        const { size, views, role } = group;
        const shape = [views * batchSize, size, size, 3];
        const crops = fromBuffer(slot.memory, { shape, dtype: 'uint8', byteOffset: cropsOffset });
        return {
          size,
          views,
          role,
          crops: crops.keep(),
          draws: colours ? noChanges(views * batchSize) : draws,
          ...(erasing && { erasing }),
        };
      }),
    );
  }

  get stats(): Readonly<LoaderStats> {
    return this.engine.stats;
  }

  /** Unreadable pictures met so far, by index. */
  get badImages(): ReadonlyMap<number, BadImage> {
    return this.engine.badImages;
  }

  /** The batches of an epoch from `startIteration` on. */
  async *batches(epoch: number, startIteration = 0): AsyncGenerator<CropBatch, void, void> {
    const order = this.sampler.order(epoch);
    for await (const { number, views, iteration } of this.engine.run(
      order,
      epoch,
      startIteration,
      this.iterations,
    ))
      yield { epoch, iteration, indices: views.indices, labels: views.labels, groups: this.groups[number] };
  }

  /** Ends the workers and lets go of the memory. */
  async close(): Promise<void> {
    await this.engine.close();
    for (const group of this.groups.flat()) group.crops.dispose();
    this.groups.length = 0;
  }
}
