/** One network on this machine: its size, its cost, and how fast it runs. */

import { type BackboneRequest, buildBackbone } from '../models/index.js';
import { AdamW, paramGroups } from '../optim/index.js';
import {
  backward,
  cudaMemory,
  forgetCudaPeak,
  inferenceMode,
  manualSeed,
  ones,
  randn,
  scope,
  synchronize,
} from '../torch/index.js';
import { type Cost, countCost } from './count.js';

export interface ProfileOptions {
  imageSize: number;
  batchSize: number;
  device: 'cpu' | 'cuda';
  /** timed repetitions after one that is not */
  rounds: number;
}

/** How fast one kind of work is. */
export interface Speed {
  /** of the median round */
  imagesPerSecond: number;
  /** bytes; the whole process at its largest so far, or on a GPU all tensors of this work; null where it is not known */
  peakMemory: number | null;
}

/** All counts are for one picture. */
export interface NetworkProfile extends Cost {
  name: string;
  parameters: number;
  imageSize: number;
  batchSize: number;
  /** pooled and region features, in evaluation mode, without gradients */
  forward: Speed;
  /** forward and backward from both kinds of features, and a step of AdamW; no heads, no teacher */
  training: Speed;
}

/** In a process of its own the peaks belong to this network alone. */
export function profileNetwork(
  name: string,
  request: BackboneRequest,
  { imageSize, batchSize, device, rounds }: ProfileOptions,
): NetworkProfile {
  manualSeed(0);
  const backbone = buildBackbone({ ...request, imgSize: imageSize }).to({ device });
  const pictures = randn([batchSize, 3, imageSize, imageSize], { device }).keep();
  const optimizer = new AdamW(paramGroups(backbone));
  try {
    backbone.eval();
    const look = (count: number) =>
      inferenceMode(() => scope(() => void backbone.forwardFeatures(pictures.narrow(0, 0, count))));
    const cost = countCost(() => look(1));
    const forward = speed(() => look(batchSize), { batchSize, device, rounds });
    backbone.train();
    const training = speed(
      () =>
        scope(() => {
          const { pooled, tokens } = backbone.forwardFeatures(pictures);
          const gradient = (shape: readonly number[]) => ones(shape, { device }).mul_(1e-3);
          backward([pooled, tokens], [gradient(pooled.shape), gradient(tokens.shape)]);
          optimizer.step();
          backbone.zeroGrad();
        }),
      { batchSize, device, rounds },
    );
    const parameters = backbone.parameters().reduce((sum, { numel }) => sum + numel, 0);
    return { name, parameters, imageSize, batchSize, ...cost, forward, training };
  } finally {
    pictures.dispose();
  }
}

function speed(
  work: () => void,
  { batchSize, device, rounds }: Pick<ProfileOptions, 'batchSize' | 'device' | 'rounds'>,
): Speed {
  forgetCudaPeak();
  const seconds = Array.from({ length: rounds + 1 }, () => {
    const start = process.hrtime.bigint();
    work();
    synchronize();
    return Number(process.hrtime.bigint() - start) / 1e9;
  })
    .slice(1)
    .sort((a, b) => a - b);
  return {
    imagesPerSecond: batchSize / seconds[Math.floor(seconds.length / 2)],
    peakMemory:
      device === 'cpu' ? process.resourceUsage().maxRSS * 1024 : (cudaMemory()?.allocatedPeak ?? null),
  };
}
