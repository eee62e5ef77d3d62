/** Every family learns: 32 steps of both tasks on drawn scenes, by which the loss falls. */

import { beforeAll, describe, expect, it } from 'vitest';
import { normalise, toPlanes } from '../../src/data/index.js';
import {
  describeScene,
  OBJECT_CLASSES,
  otherView,
  plainView,
  renderScene,
} from '../../src/data/scenes/index.js';
import { buildBackbone, miniature } from '../../src/models/index.js';
import { AdamW, paramGroups } from '../../src/optim/index.js';
import { DinoHead, MultiCropNetwork, startTeacher, ViewRegionLoss } from '../../src/ssl/index.js';
import { manualSeed, scope, setThreads, type Tensor, tensor } from '../../src/torch/index.js';
import { type StepBatch, type StepState, trainStep } from '../../src/train/index.js';
import { VARIANTS } from './families.js';

setThreads(1);

const STEPS = 32;
/** Steps at either end over which the loss is averaged. */
const ENDS = 4;
const BATCH = 8;
const OUT_DIM = 64;

const batches: StepBatch[] = [];
beforeAll(async () => {
  for (let seed = 0; seed < 5; seed++) batches.push(await scenes(seed));
});

/** Two views of 64 pixels and two of 32 of each scene. */
async function scenes(seed: number): Promise<StepBatch> {
  const scenes = Array.from({ length: BATCH }, (_, i) =>
    describeScene(OBJECT_CLASSES[i % OBJECT_CLASSES.length], BATCH * seed + i),
  );
  const crops = await Promise.all(
    [64, 32].map(async (size) => {
      const pictures = await Promise.all(
        [plainView, otherView].flatMap((view) =>
          scenes.map((scene, i) => renderScene(scene, { size, view: view(`${seed} ${i} ${size}`) })),
        ),
      );
      return scope(() => {
        const bytes = Uint8Array.from(pictures.flatMap(({ data }) => [...data]));
        return normalise(toPlanes(tensor(bytes, { shape: [2 * BATCH, size, size, 3] })));
      }).keep();
    }),
  );
  return { size: BATCH, crops };
}

function stateOf(request: Parameters<typeof buildBackbone>[0]): StepState {
  manualSeed(3);
  const network = (dropPathRate?: number) => {
    const backbone = buildBackbone({ ...request, ...(dropPathRate !== undefined && { dropPathRate }) });
    const head = () =>
      new DinoHead({
        inDim: backbone.featureDim,
        outDim: OUT_DIM,
        useBn: true,
        normLastLayer: true,
        nlayers: 3,
        hiddenDim: 64,
        bottleneckDim: 32,
      });
    return new MultiCropNetwork(backbone, head(), head());
  };
  const student = network();
  const teacher = network(0);
  startTeacher(teacher, student);
  const loss = new ViewRegionLoss({
    outDim: OUT_DIM,
    warmupTeacherTemp: 0.04,
    teacherTemp: 0.04,
    warmupTeacherTempEpochs: 0,
    nepochs: 1,
  });
  return { student, teacher, loss, optimizer: new AdamW(paramGroups(student)) };
}

describe.each([
  ...['swin_tiny', 'cvt_tiny', 'vil_1281', 'deit_tiny', 'resnet18'].map(
    (arch) => [arch, miniature(arch)] as const,
  ),
  // what trains in another way than the named ones: masks, a deep stem, random draws of attention and dropout
  ...Object.entries(VARIANTS).filter(([name]) => /^(?:CvT with|ViL on|Swin with)/.test(name)),
])('%s', (_, request) => {
  it('learns both tasks', () => {
    const state = stateOf(request);
    const settings = {
      epoch: 0,
      lr: 0.002,
      weightDecay: 0.04,
      momentum: 0.98,
      clipGrad: 3,
      freezeLastLayer: false,
      precision: 'float32',
    } as const;
    const losses: number[] = [];
    for (let step = 0; step < STEPS; step++) {
      const batch = batches[step % batches.length];
      const { taken, loss } = scope(() => trainStep(state, [batch], 1, settings));
      expect(taken).toBe(true);
      losses.push(loss);
    }
    expect(mean(losses.slice(-ENDS))).toBeLessThan(0.9 * mean(losses.slice(0, ENDS)));
    for (const part of [state.student, state.teacher])
      for (const value of part.stateDict().values()) expect(allFinite(value)).toBe(true);
  });
});

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function allFinite(x: Tensor): boolean {
  return scope(() => x.isfinite().allAll().item()) === 1;
}
