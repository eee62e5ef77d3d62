/** A ring of batches in shared memory: some are being filled while one is used; they come out in order. */

import { UserError } from '../errors.js';
import { allocateSlot, type SlotViews, viewSlot } from './batch-layout.js';
import type { CropPlan, EvaluationPlan } from './crop-plan.js';
import { MAX_PIXELS } from './decode.js';
import type { PixelCache } from './pixel-cache.js';
import type { BadImage, ProducerOptions, Report } from './producer.js';
import type { EpochOrder } from './sampler.js';
import type { ImageSource } from './source.js';
import { openPool, type Pool } from './worker-pool.js';

export interface EngineOptions {
  source: ImageSource;
  batchSize: number;
  /** worker threads; 0 = the calling thread */
  workers?: number;
  /** batches that are prepared ahead, default 2 (without workers: 0) */
  prefetch?: number;
  /** decoded pixels to share, from `cacheFor` */
  cache?: PixelCache;
  /** pictures with more pixels are refused before decoding */
  maxPixels?: number;
  /** the run stops when more than this share of the pictures is unreadable, default 0.5 */
  maxBadFraction?: number;
  /** called once for each unreadable picture */
  onBadImage?: (bad: BadImage) => void;
}

export interface LoaderStats {
  batches: number;
  images: number;
  /** pictures decoded (the others came from the cache) */
  decoded: number;
  /** seconds in which the consumer waited for a batch */
  waitSeconds: number;
  badImages: number;
}

interface EnginePlan {
  plan: CropPlan;
  evaluation?: EvaluationPlan;
  colours?: boolean;
  seed: number;
}

/** A filled batch; its memory is used anew as soon as the next one is asked for. */
export interface FilledSlot {
  number: number;
  views: SlotViews;
  rows: number;
  iteration: number;
}

export class BatchEngine {
  readonly slots: SlotViews[];
  /** unreadable pictures by index */
  readonly badImages = new Map<number, BadImage>();
  readonly stats: LoaderStats = { batches: 0, images: 0, decoded: 0, waitSeconds: 0, badImages: 0 };
  private readonly producerOptions: ProducerOptions;
  private pool: Pool | undefined;
  private active = false;
  private closed = false;

  constructor(
    private readonly options: EngineOptions,
    { plan, evaluation, colours = false, seed }: EnginePlan,
  ) {
    const { batchSize, workers = 0, source, maxPixels = MAX_PIXELS, cache } = options;
    const prefetch = options.prefetch ?? (workers > 0 ? 2 : 0);
    const slots = Array.from({ length: prefetch + 1 }, () => allocateSlot(plan, batchSize));
    this.slots = slots.map((memory) => viewSlot(memory, plan, batchSize));
    this.producerOptions = { source: source.share(), plan, batchSize, slots, seed, maxPixels, colours };
    if (evaluation) this.producerOptions.evaluation = evaluation;
    if (cache) this.producerOptions.cache = cache.shared;
  }

  /** Batches `start`..`iterations`-1 of an order, `batchSize` rows each (the last may have fewer). */
  async *run(
    { indices, repeats }: EpochOrder,
    epoch: number,
    start: number,
    iterations: number,
  ): AsyncGenerator<FilledSlot, void, void> {
    if (this.closed) throw new Error('internal: the loader is closed');
    if (this.active) throw new Error('internal: the loader already gives batches; end that loop first');
    this.active = true;
    this.pool ??= openPool(this.options.workers ?? 0, this.producerOptions);
    const waiting: { slot: FilledSlot; reports: Promise<Report[]> }[] = [];
    const ask = (iteration: number) => {
      const number = iteration % this.slots.length;
      const views = this.slots[number];
      const { batchSize } = this.options;
      const part = [iteration * batchSize, (iteration + 1) * batchSize] as const;
      const wanted = indices.subarray(...part);
      views.indices.set(wanted);
      if (repeats === undefined) views.repeats.fill(0);
      else views.repeats.set(repeats.subarray(...part));
      Atomics.store(views.next, 0, 0);
      const reports = this.pool!.produce({ slot: number, epoch, rows: wanted.length });
      reports.catch(() => undefined); // reported when its turn comes
      waiting.push({ slot: { number, views, rows: wanted.length, iteration }, reports });
    };
    try {
      for (let i = start; i < Math.min(start + this.slots.length, iterations); i++) ask(i);
      for (let iteration = start; iteration < iterations; iteration++) {
        const { slot, reports } = waiting[0];
        const before = performance.now();
        this.record(slot, await reports);
        this.stats.waitSeconds += (performance.now() - before) / 1000;
        waiting.shift();
        yield slot;
        if (iteration + this.slots.length < iterations) ask(iteration + this.slots.length);
      }
    } finally {
      // What nobody will use is not filled further; the memory is free only when the workers have let go.
      for (const { slot } of waiting) Atomics.store(slot.views.next, 0, slot.rows);
      await Promise.allSettled(waiting.map((item) => item.reports));
      this.active = false;
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const slot of this.slots) Atomics.store(slot.next, 0, this.options.batchSize); // nothing more is wanted
    await this.pool?.close();
    this.pool = undefined;
  }

  private record(slot: FilledSlot, reports: Report[]): void {
    const { source, maxBadFraction = 0.5, onBadImage } = this.options;
    this.stats.batches++;
    this.stats.images += slot.rows;
    for (const report of reports) {
      this.stats.decoded += report.decoded;
      for (const bad of report.bad) {
        if (this.badImages.has(bad.index)) continue;
        this.badImages.set(bad.index, bad);
        onBadImage?.(bad);
      }
    }
    this.stats.badImages = this.badImages.size;
    if (this.badImages.size > maxBadFraction * source.length) {
      const [first] = this.badImages.values();
      throw new UserError(
        'data',
        `${this.badImages.size} of ${source.length} pictures cannot be read, more than the ` +
          `${maxBadFraction * 100}% that are allowed; the first is ${first.key} (${first.reason}).`,
      );
    }
  }
}
