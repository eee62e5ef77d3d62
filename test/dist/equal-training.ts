/** A small training on drawn numbers, whole in one process or in equal parts in several. */

import { GradientExchange } from '../../src/dist/index.js';
import { buildBackbone } from '../../src/models/index.js';
import { BatchNorm, synchroniseBatchNorms } from '../../src/nn/index.js';
import { AdamW, paramGroups } from '../../src/optim/index.js';
import { DinoHead, MultiCropNetwork, startTeacher, ViewLoss, ViewRegionLoss } from '../../src/ssl/index.js';
import { cat, manualSeed, noGrad, randn, scope, type Tensor } from '../../src/torch/index.js';
import { type StepBatch, type StepState, spreadState, trainStep } from '../../src/train/index.js';
import type { Context } from './tasks.js';

export interface TrainingSettings {
  arch: string;
  spec: Record<string, unknown>;
  dense: boolean;
  /** batch norm in the heads */
  useBn: boolean;
  accumulate: number;
  steps: number;
  /** what the biases of the backbone's batch norms start with, default 0 */
  normBias?: number;
}

export interface Trained {
  losses: number[];
  weights: Record<string, number[]>;
}

/** Pictures of a batch, over all processes, and the sides of their crops. */
const BATCH = 8;
const SIDES = [32, 16];
const VIEWS = 2;
const OUT_DIM = 16;

function network({ arch, spec, dense, useBn }: TrainingSettings): MultiCropNetwork {
  const backbone = buildBackbone({ arch, spec, imgSize: SIDES[0], dropPathRate: 0 });
  const head = () =>
    new DinoHead({
      inDim: backbone.featureDim,
      outDim: OUT_DIM,
      useBn,
      normLastLayer: false,
      nlayers: 2,
      hiddenDim: 16,
      bottleneckDim: 8,
    });
  return new MultiCropNetwork(backbone, head(), dense ? head() : null);
}

/** This rank's pictures of a batch: crops are view by view, picture by picture. */
function part(crops: Tensor, rank: number, worldSize: number): Tensor {
  const own = BATCH / worldSize;
  return cat(crops.chunk(VIEWS, 0).map((view) => view.narrow(0, rank * own, own)));
}

export function trainTogether({ collectives, gradients }: Context, settings: TrainingSettings): Trained {
  const { rank, worldSize } = collectives;
  const { dense, accumulate, steps, normBias = 0 } = settings;
  manualSeed(3 + rank); // what the other ranks draw does not matter: they get rank 0's
  const student = network(settings);
  const teacher = network(settings);
  for (const [, module] of student.backbone.modules())
    if (module instanceof BatchNorm) noGrad(() => module.bias.fill_(normBias));
  startTeacher(teacher, student);
  const options = {
    outDim: OUT_DIM,
    warmupTeacherTemp: 0.04,
    teacherTemp: 0.07,
    warmupTeacherTempEpochs: 2,
    nepochs: 4,
    collectives,
  };
  const loss = dense ? new ViewRegionLoss(options) : new ViewLoss(options);
  // Adam makes steps of full size from gradients that are nothing but rounding; a larger eps keeps them out.
  const optimizer = new AdamW(paramGroups(student), { eps: 1e-3 });
  const state: StepState = { student, teacher, loss, optimizer };
  for (const one of [student, teacher]) synchroniseBatchNorms(one, collectives);
  let exchange: GradientExchange | undefined;
  if (worldSize > 1) {
    spreadState(collectives, state, { epoch: 0, step: 0, sums: {} }, 0);
    exchange = new GradientExchange(
      gradients,
      student.parameters().filter(({ requiresGrad }) => requiresGrad),
      { bucketBytes: 4096, firstBucketBytes: 1024 },
    );
    state.ranks = { collectives, exchange, tell: () => [] };
  }
  const losses: number[] = [];
  for (let step = 0; step < steps; step++)
    scope(() => {
      const batches = Array.from({ length: accumulate }, (_, i): StepBatch => {
        manualSeed(1000 + step * accumulate + i);
        const crops = SIDES.map((side) => randn([VIEWS * BATCH, 3, side, side]));
        return { size: BATCH / worldSize, crops: crops.map((crop) => part(crop, rank, worldSize)) };
      });
      const result = trainStep(state, batches, accumulate, {
        epoch: Math.floor(step / 8),
        lr: 0.0005,
        weightDecay: 0.05,
        momentum: 0.95,
        clipGrad: 3,
        freezeLastLayer: step < 3,
        precision: 'float32',
      });
      losses.push(result.loss);
    });
  exchange?.close();
  const weights: Record<string, number[]> = {};
  for (const [name, module] of Object.entries({ student, teacher, loss }))
    for (const [key, value] of module.stateDict())
      weights[`${name}.${key}`] = Array.from(value.toArray(), Number);
  return { losses, weights };
}
