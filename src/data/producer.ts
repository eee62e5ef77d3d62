/** Fills the rows of a batch: read, decode, draw, crop. The same code runs in workers and in the main thread. */

import { messageOf, UserError } from '../errors.js';
import { type AugmentRecipe, applyRecipe, drawAutoAugment } from './auto-augment.js';
import { type SlotViews, viewSlot } from './batch-layout.js';
import { drawPhotometric, randomResizedCrop } from './crop-draws.js';
import type { CropPlan, EvaluationPlan } from './crop-plan.js';
import { stepSettings } from './crop-policies.js';
import { decode } from './decode.js';
import { drawErasing } from './erase-draws.js';
import { cropJob, evaluationJob } from './geometry.js';
import {
  COLOUR_FIELDS,
  type ColourChanges,
  JOB_FIELDS,
  nativeImage,
  type Picture,
  writeColours,
  writeJob,
} from './native-image.js';
import { type PhotometricDraws, SOLARIZE_FROM } from './photometric.js';
import { PixelCache, type SharedCache } from './pixel-cache.js';
import { PURPOSE, RandomStream, REPEAT } from './random.js';
import type { Place } from './retouch.js';
import { type ImageSource, openShared, type SharedSource } from './source.js';

/** Everything a producer needs, in a form that can be sent to a worker. */
export interface ProducerOptions {
  source: SharedSource;
  /** the layout of the batch memory; for an evaluation one group of one view */
  plan: CropPlan;
  /** set: centre crops instead of random ones, and no replacement of bad pictures */
  evaluation?: EvaluationPlan;
  /** change the colours of the crops here, not on the training device */
  colours?: boolean;
  batchSize: number;
  slots: SharedArrayBuffer[];
  seed: number;
  maxPixels: number;
  cache?: SharedCache;
}

export interface Order {
  slot: number;
  epoch: number;
  /** rows of the batch that are wanted */
  rows: number;
}

export interface BadImage {
  index: number;
  key: string;
  reason: string;
}

/** What a producer did on one batch. */
export interface Report {
  slot: number;
  bad: BadImage[];
  decoded: number;
}

/** So many unreadable pictures in a row are no accident. */
const REPLACEMENTS = 50;

export class Producer {
  private readonly source: ImageSource;
  private readonly slots: SlotViews[];
  private readonly cache: PixelCache | undefined;
  private readonly random = new RandomStream();
  private readonly jobs: Float64Array;
  private readonly colours: Float64Array | undefined;
  private readonly bad = new Map<number, BadImage>();

  constructor(private readonly options: ProducerOptions) {
    const { plan, batchSize, cache } = options;
    this.source = openShared(options.source);
    this.slots = options.slots.map((memory) => viewSlot(memory, plan, batchSize));
    this.cache = cache && new PixelCache(cache);
    const crops = plan.groups.reduce((sum, group) => sum + group.views, 0);
    this.jobs = new Float64Array(crops * JOB_FIELDS);
    if (options.colours) this.colours = new Float64Array(crops * COLOUR_FIELDS);
  }

  /** Takes rows of the batch until none is left; other producers may take rows of it at the same time. */
  async produce(order: Order): Promise<Report> {
    const slot = this.slots[order.slot];
    const report: Report = { slot: order.slot, bad: [], decoded: 0 };
    // Decoding happens in another thread: while this one crops a picture, the next is on its way.
    let next = this.take(slot, order, report);
    try {
      while (next !== undefined) {
        const { row, wanted } = next;
        const found = await next.found;
        next = this.take(slot, order, report);
        slot.indices[row] = found?.index ?? -1;
        if (found === undefined) continue;
        slot.labels[row] = this.source.label(found.index);
        if (this.options.evaluation) this.cropCentre(found.picture, slot, row, this.options.evaluation);
        else this.crop(found.picture, slot, row, order.epoch, wanted);
      }
    } finally {
      // The thread must not end while something of it is being decoded.
      await next?.found.catch(() => undefined);
    }
    return report;
  }

  private take(slot: SlotViews, order: Order, report: Report) {
    const row = Atomics.add(slot.next, 0, 1);
    if (row >= order.rows) return undefined;
    const wanted = slot.indices[row];
    const found = this.options.evaluation
      ? this.pictureAt(wanted, report)
      : this.pictureOrReplacement(wanted, order.epoch, report);
    found.catch(() => undefined); // thrown when its turn comes
    return { row, wanted, found };
  }

  close(): void {
    this.source.close();
  }

  private async pictureAt(index: number, report: Report) {
    const cached = this.cache?.get(index);
    if (cached) return { index, picture: cached };
    const known = this.bad.get(index);
    if (known) {
      report.bad.push(known);
      return undefined;
    }
    try {
      const picture = await decode(await this.source.read(index), this.options.maxPixels);
      report.decoded++;
      this.cache?.put(index, picture);
      return { index, picture };
    } catch (error) {
      const reason = messageOf(error).split('\n')[0];
      const failure = { index, key: this.source.key(index), reason };
      this.bad.set(index, failure);
      report.bad.push(failure);
      return undefined;
    }
  }

  /** A bad picture's place is taken by one that its own key draws: the same in every run. */
  private async pictureOrReplacement(wanted: number, epoch: number, report: Report) {
    const found = await this.pictureAt(wanted, report);
    if (found) return found;
    const { seed } = this.options;
    const random = new RandomStream().key(seed, epoch, wanted, PURPOSE.replacement);
    for (let attempt = 0; attempt < REPLACEMENTS; attempt++) {
      const other = await this.pictureAt(random.integer(this.source.length), report);
      if (other) return other;
    }
    const { key, reason } = this.bad.get(wanted) ?? { key: '?', reason: '?' };
    throw new UserError(
      'data',
      `${REPLACEMENTS + 1} pictures in a row cannot be read, the first is ${key} (${reason}). Check the data set.`,
    );
  }

  private crop(picture: Picture, slot: SlotViews, row: number, epoch: number, key: number): void {
    const { plan, batchSize, seed } = this.options;
    const { random, jobs, colours } = this;
    const { filters = ['bicubic'], autoAugment } = plan;
    const recipes: { place: Place; recipe: AugmentRecipe }[] = [];
    let job = 0;
    for (const { group, cropsOffset, draws, erasing } of slot.groups) {
      const { size } = group;
      const settings = autoAugment && stepSettings(plan, size);
      for (let view = 0; view < group.views; view++) {
        random.key(seed, epoch, key, PURPOSE.crop + job + REPEAT * slot.repeats[row]);
        const box = randomResizedCrop(random, picture.height, picture.width, group.scale, plan.ratio);
        const flip = random.chance(plan.flip);
        const at = view * batchSize + row;
        drawPhotometric(random, plan, group, view, draws, at);
        const filter = filters.length > 1 ? filters[random.integer(filters.length)] : filters[0];
        const place = { offset: cropsOffset + at * size * size * 3, width: size, height: size };
        writeJob(jobs, job, cropJob(box, size, flip, place.offset, filter));
        if (settings !== undefined && autoAugment !== undefined)
          recipes.push({ place, recipe: drawAutoAugment(random, autoAugment, settings, place) });
        if (colours) writeColours(colours, job, place, changesOf(draws, at));
        if (erasing !== undefined && plan.erasing !== undefined && !(plan.sparesFirstView && job === 0))
          drawErasing(random, size, plan.erasing, erasing, at);
        job++;
      }
    }
    nativeImage.imageResample(picture.data, picture.width, picture.height, jobs, slot.bytes);
    for (const { place, recipe } of recipes) applyRecipe(slot.bytes, place, recipe);
    if (colours) nativeImage.imagePhotometric(slot.bytes, colours);
  }

  private cropCentre(picture: Picture, slot: SlotViews, row: number, plan: EvaluationPlan): void {
    const offset = slot.groups[0].cropsOffset + row * plan.size * plan.size * 3;
    writeJob(this.jobs, 0, evaluationJob(picture.height, picture.width, plan, offset));
    nativeImage.imageResample(picture.data, picture.width, picture.height, this.jobs, slot.bytes);
  }
}

/** What the draws of a row say, as the addon takes it. */
export function changesOf(draws: PhotometricDraws, row: number): ColourChanges {
  return {
    order: draws.order.subarray(row * 4, row * 4 + 4),
    brightness: draws.brightness[row],
    contrast: draws.contrast[row],
    saturation: draws.saturation[row],
    hue: draws.hue[row],
    gray: draws.gray[row] === 1,
    blurRadius: draws.blurRadius[row] || Number.NaN,
    solarize: SOLARIZE_FROM[draws.solarize[row]] ?? Number.NaN,
  };
}
