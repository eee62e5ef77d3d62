/** One optimisation step, in the original's order. */

import { cancelLastLayerGradients, clipGradients, type GradScaler, type Optimizer } from '../optim/index.js';
import { type CropMixing, type MultiCropNetwork, moveTeacher, type ViewLoss } from '../ssl/index.js';
import { autocast, backward, type DType, noGrad, scope, type Tensor } from '../torch/index.js';

export interface StepState {
  student: MultiCropNetwork;
  teacher: MultiCropNetwork;
  loss: ViewLoss;
  optimizer: Optimizer;
  /** only for float16 */
  scaler?: GradScaler;
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
  /** mean over the batches of the step */
  loss: number;
  /** of each parameter before clipping, by name; empty where the step was not taken */
  gradientNorms: Map<string, number>;
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

  let total = 0;
  for (const batch of batches) {
    const value = scope(() => batchGradients(state, batch, 1 / count, settings, observe));
    if (!Number.isFinite(value)) return notTaken(state, value);
    total += value / count;
  }
  if (scaler !== undefined && !scaler.unscale(student)) {
    scaler.update(false);
    return notTaken(state, total);
  }
  const gradientNorms = clipGradients(student, settings.clipGrad);
  if (settings.freezeLastLayer) cancelLastLayerGradients(student);
  optimizer.step();
  scaler?.update(true);
  optimizer.zeroGrad();
  state.loss.updateCenters();
  moveTeacher(teacher, student, settings.momentum);
  return { loss: total, gradientNorms, taken: true };
}

/** Leaves no trace of the step: neither gradients nor sums for the centres. */
function notTaken({ loss, optimizer }: StepState, value: number): StepResult {
  loss.dropCollected();
  optimizer.zeroGrad();
  return { loss: value, gradientNorms: new Map(), taken: false };
}

/** Adds the gradients of one batch; the loss. */
function batchGradients(
  { student, teacher, loss, scaler }: StepState,
  batch: StepBatch,
  share: number,
  { epoch, precision }: StepSettings,
  observe?: StepObserver,
): number {
  const mixed = <T>(body: () => T): T =>
    precision === 'float32' ? body() : autocast({ device: batch.crops[0].device, dtype: precision }, body);
  const target = noGrad(() =>
    mixed(() => teacher.forward([batch.teacherCrops ?? batch.crops[0]], batch.size)),
  );
  const output = mixed(() => student.forward(batch.crops, batch.size));
  const result = loss.forward(output, target, epoch, batch.mixing);
  const value = result.loss.item();
  if (!Number.isFinite(value)) return value;
  const scale = share * (scaler?.scale ?? 1);
  for (const [i, gradient] of result.gradients.entries()) {
    if (scale !== 1) gradient.mul_(scale);
    if (gradient.dtype !== result.roots[i].dtype)
      result.gradients[i] = gradient.to({ dtype: result.roots[i].dtype });
  }
  backward(result.roots, result.gradients);
  observe?.({ student: output, teacher: target });
  return value;
}
