/** One optimisation step, in the original's order. */

import type { Collectives, GradientExchange } from '../dist/index.js';
import { cancelLastLayerGradients, type GradScaler, type Optimizer, queueClipping } from '../optim/index.js';
import {
  type Contrast,
  type CropMixing,
  type MultiCropNetwork,
  moveTeacher,
  type ViewLoss,
} from '../ssl/index.js';
import { autocast, backward, type DType, noGrad, scope, type Tensor, tensor } from '../torch/index.js';

export interface StepState {
  student: MultiCropNetwork;
  teacher: MultiCropNetwork;
  loss: ViewLoss;
  /** only where pictures are told from each other as well */
  contrast?: Contrast;
  optimizer: Optimizer;
  /** only for float16 */
  scaler?: GradScaler;
  /** only where several processes train together */
  ranks?: Ranks;
}

/** The other processes of a run, as a step needs them. */
export interface Ranks {
  readonly collectives: Collectives;
  /** of the student's gradients */
  readonly exchange: GradientExchange;
  /** a few numbers that every rank tells all others with each step */
  tell(): readonly number[];
}

export interface StepSettings {
  epoch: number;
  lr: number;
  weightDecay: number;
  /** of the teacher */
  momentum: number;
  /** largest gradient norm of each parameter; 0 for none */
  clipGrad: number;
  /** whether the heads' last layers stay as they are in this epoch */
  freezeLastLayer: boolean;
  /** number format of the matrix products */
  precision: DType;
}

/** Crops of one batch, normalised: for each size [views * batch, 3, s, s], the first with the two global views. */
export interface StepBatch {
  size: number;
  crops: readonly Tensor[];
  /** what the teacher sees, where the student's pictures are mixed: [2 * batch, 3, s, s] */
  teacherCrops?: Tensor;
  /** of each crop of the student */
  mixing?: readonly (CropMixing | undefined)[];
}

export interface StepResult {
  /** of the paper: mean over the batches of the step, and over the ranks */
  loss: number;
  /** the same of the contrast between pictures, without its weight */
  contrast?: number;
  /** of each parameter before clipping, by name; empty where the step was not taken */
  gradientNorms: Map<string, number>;
  /** of each rank: its loss, seconds it computed, and what it told */
  ranks?: { loss: number; seconds: number; told: readonly number[] }[];
  /** false where the loss or, under loss scaling, a gradient was not finite: nothing was changed */
  taken: boolean;
}

/** Sees the outputs of a batch while they are alive. */
export type StepObserver = (outputs: {
  student: ReturnType<MultiCropNetwork['forward']>;
  teacher: ReturnType<MultiCropNetwork['forward']>;
}) => void;

/**
 * Teacher and student look at every batch, gradients and teacher outputs add up over them, then parameters,
 * centres and teacher move once: several batches of one step give what one large batch would.
 */
export function trainStep(
  state: StepState,
  batches: Iterable<StepBatch>,
  count: number,
  settings: StepSettings,
  observe?: StepObserver,
): StepResult {
  const { student, teacher, optimizer, scaler } = state;
  for (const group of optimizer.groups) group.lr = settings.lr;
  optimizer.groups[0].weightDecay = settings.weightDecay;
  optimizer.zeroGrad();

  const { ranks } = state;
  const started = performance.now();
  const losses: { loss: Tensor; contrast?: Tensor }[] = [];
  let left = count;
  for (const batch of batches) {
    if (--left === 0) ranks?.exchange.arm(); // before that gradients add up, and nothing is sent
    losses.push(scope(() => batchGradients(state, batch, 1 / count, settings, observe)));
  }
  // A GPU works through what is queued; asked for a number, it has to finish first. So the loss is read when all that
  // needs no answer is queued. Gradients that turn out to be of a loss that is not finite are dropped.
  const early =
    ranks === undefined && scaler === undefined ? queueClipping(student, settings.clipGrad) : undefined;
  let own = 0;
  let contrast = 0;
  for (const batch of losses) {
    const between = batch.contrast === undefined ? 0 : takeNumber(batch.contrast);
    const loss = takeNumber(batch.loss);
    // The step is not taken where either is not finite.
    own += (Number.isFinite(between) ? loss : between) / count;
    contrast += between / count;
  }
  const told = ranks && exchange(ranks, own, (performance.now() - started) / 1000);
  const total = told === undefined ? own : told.reduce((sum, { loss }) => sum + loss / told.length, 0);
  if (!Number.isFinite(total)) return { ...notTaken(state, total), ...(told && { ranks: told }) };
  if (scaler !== undefined && !scaler.unscale(student)) {
    scaler.update(false);
    return { ...notTaken(state, total), ...(told && { ranks: told }) };
  }
  const gradientNorms = (early ?? queueClipping(student, settings.clipGrad))();
  if (settings.freezeLastLayer) cancelLastLayerGradients(student);
  optimizer.step();
  scaler?.update(true);
  optimizer.zeroGrad();
  state.loss.updateCenters();
  moveTeacher(teacher, student, settings.momentum);
  return {
    loss: total,
    ...(state.contrast && { contrast }),
    gradientNorms,
    taken: true,
    ...(told && { ranks: told }),
  };
}

function takeNumber(scalar: Tensor): number {
  using read = scalar;
  return read.item();
}

/** Averages the gradients; what every rank says of its part of the step. */
function exchange(
  { collectives, exchange: gradients, tell }: Ranks,
  loss: number,
  seconds: number,
): NonNullable<StepResult['ranks']> {
  gradients.finish();
  return scope(() => {
    const own = tensor(Float64Array.of(loss, seconds, ...tell()));
    const all = Array.from(collectives.allGather(own).toArray(), Number);
    return Array.from({ length: collectives.worldSize }, (_, rank) => {
      const [value, time, ...told] = all.slice(rank * own.numel, (rank + 1) * own.numel);
      return { loss: value, seconds: time, told };
    });
  });
}

/** Leaves no trace of the step: neither gradients nor sums for the centres. */
function notTaken({ loss, optimizer }: StepState, value: number): StepResult {
  loss.dropCollected();
  optimizer.zeroGrad();
  return { loss: value, gradientNorms: new Map(), taken: false };
}

/** Adds the gradients of one batch; its losses, which a GPU may still be working on. */
function batchGradients(
  { student, teacher, loss, contrast, scaler }: StepState,
  batch: StepBatch,
  share: number,
  { epoch, precision }: StepSettings,
  observe?: StepObserver,
): { loss: Tensor; contrast?: Tensor } {
  const mixed = <T>(body: () => T): T =>
    precision === 'float32' ? body() : autocast({ device: batch.crops[0].device, dtype: precision }, body);
  const target = noGrad(() =>
    mixed(() => teacher.forward([batch.teacherCrops ?? batch.crops[0]], batch.size)),
  );
  const output = mixed(() => student.forward(batch.crops, batch.size));
  const result = loss.forward(output, target, epoch, batch.mixing);
  const between = contrast?.forward(output);
  if (between !== undefined) {
    result.roots.push(between.root);
    result.gradients.push(between.gradient);
  }
  const scale = share * (scaler?.scale ?? 1);
  for (const [i, gradient] of result.gradients.entries()) {
    if (scale !== 1) gradient.mul_(scale);
    if (gradient.dtype !== result.roots[i].dtype)
      result.gradients[i] = gradient.to({ dtype: result.roots[i].dtype });
  }
  backward(result.roots, result.gradients);
  observe?.({ student: output, teacher: target });
  return { loss: result.loss, ...(between && { contrast: between.loss }) };
}
