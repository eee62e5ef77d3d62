/** View-level matching (DINO) and view + region matching (EsViT), each with its gradient. */

import { alone, type Collectives } from '../dist/index.js';
import { Buffer, Module } from '../nn/index.js';
import { arange, fits, noGrad, scope, sharpenPass, type Tensor, zeros } from '../torch/index.js';
import { CenterUpdate } from './center.js';
import { gradientFor, rowsCrossEntropy } from './cross-entropy.js';
import { unitLength } from './head.js';
import type { CropMixing } from './mixing.js';
import { cropsOf, type MultiCropOutput } from './multi-crop.js';

export interface LossOptions {
  outDim: number;
  warmupTeacherTemp: number;
  teacherTemp: number;
  warmupTeacherTempEpochs: number;
  nepochs: number;
  studentTemp?: number;
  centerMomentum?: number;
  collectives?: Collectives;
}

export interface LossResult {
  /** float32 scalar, without a graph */
  loss: Tensor;
  /** the student's outputs, and the gradient of the loss with respect to each: roots of the backward pass */
  roots: Tensor[];
  gradients: Tensor[];
}

/** The teachers are the two global crops. */
const TEACHERS = 2;

/** Teacher temperature of each epoch: linear from warm-up to final, then constant. float64 [nepochs] */
export function teacherTempSchedule(options: {
  warmupTeacherTemp: number;
  teacherTemp: number;
  warmupTeacherTempEpochs: number;
  nepochs: number;
}): Float64Array {
  const { warmupTeacherTemp: from, teacherTemp: to, nepochs } = options;
  const warmup = options.warmupTeacherTempEpochs;
  return Float64Array.from({ length: nepochs }, (_, epoch) => {
    if (epoch >= warmup) return to;
    if (epoch === warmup - 1 && warmup > 1) return to;
    return warmup === 1 ? from : from + epoch * ((to - from) / (warmup - 1));
  });
}

/** EsViT, eq. 1: every student view is to say what the teacher says of the other global view. */
export class ViewLoss extends Module {
  /** [1, K] */
  readonly center: Buffer;
  readonly studentTemp: number;
  private readonly temperatures: Float64Array;
  private readonly viewCenter: CenterUpdate;

  constructor(options: LossOptions) {
    super();
    this.center = new Buffer(zeros([1, options.outDim]));
    this.studentTemp = options.studentTemp ?? 0.1;
    this.temperatures = teacherTempSchedule(options);
    this.viewCenter = new CenterUpdate(
      this.center,
      options.centerMomentum ?? 0.9,
      options.collectives ?? alone,
    );
  }

  /** The teacher's temperature in an epoch; the last one's from then on. */
  temperature(epoch: number): number {
    return this.temperatures[Math.min(epoch, this.temperatures.length - 1)];
  }

  /**
   * student: of all crops; teacher: of the two global crops, unmixed; mixing: of each crop of the student, undefined
   * where it is whole. Collects the teacher's outputs for the centre, which moves with `updateCenters`.
   */
  forward(
    student: MultiCropOutput,
    teacher: MultiCropOutput,
    epoch: number,
    mixing?: readonly (CropMixing | undefined)[],
  ): LossResult {
    return noGrad(() => scope(() => this.viewPart(student, teacher, epoch, 1, mixing)));
  }

  /** Moves the centres by all that was collected since the last call; once a step. */
  updateCenters(): void {
    this.viewCenter.apply();
  }

  /** Forgets what was collected since the last update: the step is not taken. */
  dropCollected(): void {
    this.viewCenter.drop();
  }

  /** Teacher probabilities. DINO, eq. 1 with the centre of eq. 4. */
  sharpened(logits: Tensor, center: Tensor, epoch: number): Tensor {
    if (fits(logits, center)) return sharpenPass(logits, center, 1 / this.temperature(epoch));
    return scope(() => logits.to({ dtype: 'float32' }).sub(center).div_(this.temperature(epoch)).softmax(-1));
  }

  protected viewPart(
    student: MultiCropOutput,
    teacher: MultiCropOutput,
    epoch: number,
    share: number,
    mixing?: readonly (CropMixing | undefined)[],
  ): LossResult {
    return scope(() => {
      const crops = cropsOf(student);
      const batch = student.cls.shape[0] / crops;
      const weight = share / (pairsOf(crops) * batch);
      const q = this.sharpened(teacher.cls, this.center, epoch).chunk(TEACHERS, 0);
      const both = q[0].add(q[1]);
      const gradient = gradientFor(student.cls);
      let loss: Tensor | undefined;
      for (let view = 0; view < crops; view++) {
        // A global view is compared with the other one only.
        const target = view < TEACHERS ? q[1 - view] : both;
        const teachers = view < TEACHERS ? 1 : TEACHERS;
        const mix = mixing?.[view]?.targets;
        const mixed = mix === undefined ? target : mix.t().matmul(target);
        const total = mix === undefined ? teachers : mix.sum([0]).unsqueeze(1).mul(teachers);
        const part = rowsCrossEntropy(
          student.cls.narrow(0, view * batch, batch),
          (start, count) => ({
            q: mixed.narrow(0, start, count),
            total: typeof total === 'number' ? total : total.narrow(0, start, count),
          }),
          weight,
          this.studentTemp,
          { gradient, start: view * batch },
        );
        loss = loss === undefined ? part : loss.add_(part);
      }
      this.viewCenter.collect(teacher.cls);
      return { loss: loss as Tensor, roots: [student.cls], gradients: [gradient] };
    });
  }
}

/** EsViT, eq. 2: also every student region is to say what the teacher says of its most similar region. */
export class ViewRegionLoss extends ViewLoss {
  /** [1, K] */
  readonly centerGrid: Buffer;
  private readonly regionCenter: CenterUpdate;

  constructor(options: LossOptions) {
    super(options);
    this.centerGrid = new Buffer(zeros([1, options.outDim]));
    this.regionCenter = new CenterUpdate(
      this.centerGrid,
      options.centerMomentum ?? 0.9,
      options.collectives ?? alone,
    );
  }

  override forward(
    student: MultiCropOutput,
    teacher: MultiCropOutput,
    epoch: number,
    mixing?: readonly (CropMixing | undefined)[],
  ): LossResult {
    return noGrad(() =>
      scope(() => {
        const views = this.viewPart(student, teacher, epoch, 0.5, mixing);
        const regions = this.regionPart(student, teacher, epoch, 0.5, mixing);
        return {
          loss: views.loss.add(regions.loss),
          roots: [...views.roots, ...regions.roots],
          gradients: [...views.gradients, ...regions.gradients],
        };
      }),
    );
  }

  override updateCenters(): void {
    super.updateCenters();
    this.regionCenter.apply();
  }

  override dropCollected(): void {
    super.dropCollected();
    this.regionCenter.drop();
  }

  private regionPart(
    student: MultiCropOutput,
    teacher: MultiCropOutput,
    epoch: number,
    share: number,
    mixing?: readonly (CropMixing | undefined)[],
  ): LossResult {
    return scope(() => {
      if (student.dense === undefined || teacher.dense === undefined)
        throw new Error('internal: region matching needs networks with a dense head');
      const { region, features } = student.dense;
      const crops = cropsOf(student);
      const batch = student.cls.shape[0] / crops;
      const q = this.sharpened(teacher.dense.region, this.centerGrid, epoch);
      const teacherFeatures = unitLength(teacher.dense.features.to({ dtype: 'float32' }));
      const gradient = gradientFor(region);
      let loss: Tensor | undefined;
      let view = 0;
      let start = 0;
      for (const group of student.groups) {
        const rows = batch * group.regions; // of one crop
        const inGroup = features.narrow(0, start, rows * group.views);
        const matches = matchRegions(inGroup, teacherFeatures, batch, group.views);
        const mixes = Array.from({ length: group.views }, (_, i) => mixing?.[view + i]);
        const isMixed = mixes.some((mix) => mix?.regionShares !== undefined);
        const inPartner = isMixed ? matchRegions(inGroup, teacherFeatures, batch, group.views, true) : [];
        for (let i = 0; i < group.views; i++, view++, start += rows) {
          const ofOthers = (all: readonly Tensor[]) =>
            all
              .filter((_, teacherView) => teacherView !== view)
              .map((rowsOfTeacher) => rowsOfTeacher.narrow(0, i * rows, rows));
          const teachers = ofOthers(matches);
          const shares = mixes[i]?.regionShares?.(group.regions);
          const partners = shares === undefined ? [] : ofOthers(inPartner);
          const even = this.evenTarget(q, mixes[i], view);
          const part = rowsCrossEntropy(
            region.narrow(0, start, rows),
            (first, count) => {
              const answers = (found: readonly Tensor[]) => {
                const sum = q.indexSelect(0, found[0].narrow(0, first, count));
                for (const other of found.slice(1)) sum.add_(q.indexSelect(0, other.narrow(0, first, count)));
                return sum;
              };
              let target = answers(teachers);
              if (shares !== undefined)
                target = answers(partners).lerpTensor(target, shares.narrow(0, first, count));
              if (even !== undefined) target.mul_(1 - even.smoothing).add_(even.target);
              return { q: target, total: teachers.length };
            },
            share / (pairsOf(crops) * rows),
            this.studentTemp,
            { gradient, start },
          );
          loss = loss === undefined ? part : loss.add_(part);
        }
      }
      this.regionCenter.collect(teacher.dense.region);
      return { loss: loss as Tensor, roots: [region], gradients: [gradient] };
    });
  }

  /** What label smoothing adds to each region's target: the mean answer of all regions of the teachers' views. */
  private evenTarget(
    q: Tensor,
    mix: CropMixing | undefined,
    view: number,
  ): { smoothing: number; target: Tensor } | undefined {
    const smoothing = mix?.regionShares === undefined ? 0 : mix.smoothing;
    if (smoothing === 0) return undefined;
    const means = q.chunk(TEACHERS, 0).map((ofView) => ofView.mean([0], true));
    const target = view < TEACHERS ? means[1 - view] : means[0].add(means[1]);
    return { smoothing, target: target.mul(smoothing) };
  }
}

/**
 * For each teacher view the row of its most similar region of the same picture or of its partner, for every region of one size of student crops.
 * student: [views * B * N, P] (any length of vectors: the best match does not depend on it), teacher:
 * [2 * B * M, P] of unit length -> two int64 tensors [views * B * N] of rows of the teacher's outputs.
 */
export function matchRegions(
  student: Tensor,
  teacher: Tensor,
  batch: number,
  views: number,
  inPartner = false,
): Tensor[] {
  return noGrad(() =>
    scope(() => {
      const width = student.shape[1];
      const regions = student.shape[0] / (views * batch);
      const teacherRegions = teacher.shape[0] / (TEACHERS * batch);
      const side = (x: Tensor, count: number, length: number) =>
        x
          .to({ dtype: 'float32' })
          .view([count, batch, length, width])
          .transpose(0, 1)
          .reshape([batch, count * length, width]);
      // One batched product finds the matches in both teacher views at once.
      const own = side(teacher, TEACHERS, teacherRegions);
      const answers = inPartner ? own.flip([0]) : own;
      const similarity = side(student, views, regions).bmm(answers.transpose(1, 2));
      const best = similarity
        .view([batch, views, regions, TEACHERS, teacherRegions])
        .argmax(-1)
        .permute([3, 1, 0, 2]); // [teachers, views, B, N]
      const device = { dtype: 'int64', device: student.device } as const;
      const numbers = arange(0, batch, undefined, device);
      const picture = (inPartner ? numbers.flip([0]) : numbers).mul(teacherRegions).view([1, batch, 1]);
      return best.unbind(0).map((match, teacherView) =>
        match
          .add(picture)
          .add_(teacherView * batch * teacherRegions)
          .reshape([-1]),
      );
    }),
  );
}

/** Teacher/student pairs: each global view with all crops but itself. */
function pairsOf(crops: number): number {
  return TEACHERS * (crops - 1);
}
