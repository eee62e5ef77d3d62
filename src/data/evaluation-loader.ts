/** Batches of one crop a picture, in order, for features and evaluations. */

import { fromBuffer, type Tensor } from '../torch/index.js';
import { BatchEngine, type EngineOptions, type FilledSlot, type LoaderStats } from './batch-engine.js';
import { classifierPlan, type EvaluationPlan } from './crop-plan.js';
import type { BadImage } from './producer.js';
import { iterationsPerEpoch } from './sampler.js';

export interface EvaluationLoaderOptions extends EngineOptions {
  /** default: the shorter side to 256, the middle 224 x 224 of it */
  plan?: EvaluationPlan;
  /** the pictures wanted, in this order; default all */
  indices?: Uint32Array;
  /**
   * Random crops of the plan's size in place of the centre ones, as a classifier is trained on; what they are follows
   * from seed, epoch and picture, and another picture takes the place of an unreadable one.
   */
  random?: { seed: number; epoch: number };
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
  private readonly epoch: number;

  constructor(options: EvaluationLoaderOptions) {
    const { source, batchSize, plan = { resize: 256, size: 224 }, random } = options;
    this.size = plan.size;
    this.order = options.indices ?? Uint32Array.from({ length: source.length }, (_, i) => i);
    this.iterations = iterationsPerEpoch(this.order.length, batchSize, true);
    this.epoch = random?.epoch ?? 0;
    this.engine = new BatchEngine(options, {
      plan: classifierPlan(plan.size), // the memory of a batch is that of one view, whatever is in it
      ...(random === undefined && { evaluation: plan }),
      seed: random?.seed ?? 0,
    });
  }

  get stats(): Readonly<LoaderStats> {
    return this.engine.stats;
  }

  get badImages(): ReadonlyMap<number, BadImage> {
    return this.engine.badImages;
  }

  async *batches(): AsyncGenerator<EvaluationBatch, void, void> {
    const order = { indices: this.order };
    for await (const filled of this.engine.run(order, this.epoch, 0, this.iterations)) {
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
