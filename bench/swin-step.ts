/** One training step as the benchmarks measure it: Swin-T, both tasks, 2x224 + 8x96 crops. */

import { buildBackbone } from '../src/models/index.js';
import { AdamW, GradScaler, paramGroups } from '../src/optim/index.js';
import { DinoHead, HEAD_DEFAULTS, MultiCropNetwork, startTeacher, ViewRegionLoss } from '../src/ssl/index.js';
import { type DType, manualSeed, randn, scope, synchronize, type Tensor } from '../src/torch/index.js';
import { type StepSettings, type StepState, trainStep } from '../src/train/step.js';

/** Local crops of a picture. */
export const LOCAL = 8;

/** A Swin-T that is narrower than its name says. */
export interface Narrow {
  dim: number;
  heads: readonly number[];
  /** of the heads' hidden layers */
  hidden: number;
}

export function buildSwin(outDim: number, device = 'cpu', narrow?: Narrow): StepState {
  manualSeed(0);
  const spec = narrow && { DIM_EMBED: narrow.dim, NUM_HEADS: [...narrow.heads] };
  const network = (dropPathRate: number) => {
    const backbone = buildBackbone({ arch: 'swin_tiny', dropPathRate, spec });
    const head = () =>
      new DinoHead({
        inDim: backbone.featureDim,
        outDim,
        useBn: false,
        normLastLayer: true,
        ...HEAD_DEFAULTS,
        ...(narrow && { hiddenDim: narrow.hidden }),
      });
    return new MultiCropNetwork(backbone, head(), head());
  };
  const student = network(0.1);
  const teacher = network(0);
  startTeacher(teacher, student);
  const loss = new ViewRegionLoss({
    outDim,
    warmupTeacherTemp: 0.04,
    teacherTemp: 0.04,
    warmupTeacherTempEpochs: 0,
    nepochs: 1,
  });
  for (const module of [student, teacher, loss]) module.to({ device });
  return { student, teacher, loss, optimizer: new AdamW(paramGroups(student)) };
}

export function settingsOf(precision: DType): StepSettings {
  return {
    epoch: 0,
    lr: 1e-4,
    weightDecay: 0.04,
    momentum: 0.996,
    clipGrad: 3,
    freezeLastLayer: false,
    precision,
  };
}

/** Noise in place of the crops of `batch` pictures. */
export function noiseCrops(batch: number, device = 'cpu', sizes: readonly number[] = [224, 96]): Tensor[] {
  return sizes.map((size, i) => randn([(i === 0 ? 2 : LOCAL) * batch, 3, size, size], { device }).keep());
}

const scaler = new GradScaler();

/** Takes a step on crops that lie on the device; the result is its seconds. */
export function timedStep(
  state: StepState,
  crops: readonly Tensor[],
  batch: number,
  precision: DType,
): number {
  const start = process.hrtime.bigint();
  const own = precision === 'float16' ? { ...state, scaler } : state;
  const { loss } = scope(() => trainStep(own, [{ size: batch, crops }], 1, settingsOf(precision)));
  synchronize();
  if (!Number.isFinite(loss)) throw new Error('the loss is not finite');
  return Number(process.hrtime.bigint() - start) / 1e9;
}
