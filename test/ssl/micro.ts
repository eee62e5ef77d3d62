/** The smallest networks that have all the parts of a run, and crops for them. */

import { type Backbone, buildBackbone } from '../../src/models/index.js';
import { AdamW, type Optimizer, type ParamGroup, paramGroups } from '../../src/optim/index.js';
import { DinoHead, MultiCropNetwork, startTeacher, ViewLoss, ViewRegionLoss } from '../../src/ssl/index.js';
import { manualSeed, randn } from '../../src/torch/index.js';
import type { StepBatch, StepState } from '../../src/train/index.js';

export interface MicroOptions {
  /** both tasks, or views alone */
  dense?: boolean;
  outDim?: number;
  useBn?: boolean;
  dropPathRate?: number;
  depths?: readonly number[];
  seed?: number;
  optimizer?: (groups: readonly ParamGroup[]) => Optimizer;
}

export const MICRO_DIM = 8;

/** A Swin of two stages for pictures of 16 pixels: 4 x 4 tokens in shifted windows of 2 x 2. */
export function microBackbone({ dropPathRate = 0, depths = [2, 1] }: MicroOptions = {}): Backbone {
  const spec = {
    PATCH_SIZE: 4,
    DIM_EMBED: MICRO_DIM,
    DEPTHS: depths,
    NUM_HEADS: [2, 4],
    WINDOW_SIZE: 2,
    MLP_RATIO: 2,
    DROP_PATH_RATE: dropPathRate,
  };
  return buildBackbone({ arch: 'swin', spec, imgSize: 16 });
}

export function microNetwork(options: MicroOptions = {}): MultiCropNetwork {
  const { dense = true, outDim = 12, useBn = false } = options;
  const backbone = microBackbone(options);
  const head = () =>
    new DinoHead({
      inDim: backbone.featureDim,
      outDim,
      useBn,
      normLastLayer: false,
      nlayers: 2,
      hiddenDim: 16,
      bottleneckDim: 8,
    });
  return new MultiCropNetwork(backbone, head(), dense ? head() : null);
}

export function microState(options: MicroOptions = {}): StepState {
  const { dense = true, outDim = 12, seed = 0, optimizer = (groups) => new AdamW(groups) } = options;
  manualSeed(seed);
  const student = microNetwork(options);
  const teacher = microNetwork({ ...options, dropPathRate: 0 });
  startTeacher(teacher, student);
  const lossOptions = {
    outDim,
    warmupTeacherTemp: 0.04,
    teacherTemp: 0.07,
    warmupTeacherTempEpochs: 2,
    nepochs: 4,
  };
  const loss = dense ? new ViewRegionLoss(lossOptions) : new ViewLoss(lossOptions);
  return { student, teacher, loss, optimizer: optimizer(paramGroups(student)) };
}

/** Two global crops of 16 pixels and two local ones of 8 for each of `size` pictures. */
export function microBatch(seed: number, size = 2): StepBatch {
  manualSeed(seed);
  return { size, crops: [randn([2 * size, 3, 16, 16]), randn([2 * size, 3, 8, 8])] };
}
