/** Batches of centre crops, in order, for features and evaluations. */

import { fromBuffer, type Tensor } from '../torch/index.js';
import { BatchEngine, type EngineOptions, type FilledSlot, type LoaderStats } from './batch-engine.js';
import { type CropPlan, DINO_PHOTOMETRIC, type EvaluationPlan } from './crop-plan.js';
import type { BadImage } from './producer.js';
import { iterationsPerEpoch } from './sampler.js';

export interface EvaluationLoaderOptions extends EngineOptions {
  /** default: the shorter side to 256, the middle 224 x 224 of it */
  plan?: EvaluationPlan;
  /** the pictures wanted, in this order; default all */
  indices?: Uint32Array;
}

/** Valid until the next batch is asked for. Unreadable pictures are left out, so a batch may be short. */
export interface EvaluationBatch {
  iteration: number;
  /** [n] */
  indices: Int32Array;
  /** [n] -1 = no label */
  labels: Int32Array;
  /** uint8 [n, size, size, 3] */
  pixels: Tensor;
}

export class EvaluationLoader {
  readonly iterations: number;
  private readonly engine: BatchEngine;
  private readonly order: Uint32Array;
  private readonly size: number;

  constructor(options: EvaluationLoaderOptions) {
    const { source, batchSize, plan = { resize: 256, size: 224 } } = options;
    this.size = plan.size;
    this.order = options.indices ?? Uint32Array.from({ length: source.length }, (_, i) => i);
    this.iterations = iterationsPerEpoch(this.order.length, batchSize, true);
    this.engine = new BatchEngine(options, { plan: memoryPlan(plan.size), evaluation: plan, seed: 0 });
  }

  get stats(): Readonly<LoaderStats> {
    return this.engine.stats;
  }

  get badImages(): ReadonlyMap<number, BadImage> {
    return this.engine.badImages;
  }

  async *batches(): AsyncGenerator<EvaluationBatch, void, void> {
    for await (const filled of this.engine.run(this.order, 0, 0, this.iterations)) {
      const { views, iteration } = filled;
      const count = this.closeGaps(filled);
      if (count === 0) continue;
      const pixels = fromBuffer(views.memory, {
        shape: [count, this.size, this.size, 3],
        dtype: 'uint8',
        byteOffset: views.groups[0].cropsOffset,
      }).keep();
      try {
        yield {
          iteration,
          indices: views.indices.subarray(0, count),
          labels: views.labels.subarray(0, count),
          pixels,
        };
      } finally {
        pixels.dispose();
      }
    }
  }

  async close(): Promise<void> {
    await this.engine.close();
  }

  /** Moves the rows together where pictures could not be read; the result is how many are left. */
  private closeGaps({ views, rows }: FilledSlot): number {
    const rowBytes = this.size * this.size * 3;
    const start = views.groups[0].cropsOffset;
    let count = 0;
    for (let row = 0; row < rows; row++) {
      if (views.indices[row] < 0) continue;
      if (row !== count) {
        views.indices[count] = views.indices[row];
        views.labels[count] = views.labels[row];
        views.bytes.copyWithin(
          start + count * rowBytes,
          start + row * rowBytes,
          start + (row + 1) * rowBytes,
        );
      }
      count++;
    }
    return count;
  }
}

/** The memory of an evaluation batch is that of one view. */
function memoryPlan(size: number): CropPlan {
  return {
    groups: [{ size, views: 1, scale: [1, 1], blur: [0], solarize: [0], role: 'global' }],
    ratio: [1, 1],
    flip: 0,
    photometric: DINO_PHOTOMETRIC,
  };
}
