/** How many pictures a second a training step takes on this machine. */

import type { DeepReadonly } from '../config/index.js';
import { randn, scope } from '../torch/index.js';
import { buildState } from './build.js';
import type { ResolvedTrainConfig } from './resolved-config.js';
import { stepSettings } from './schedules.js';
import { trainStep } from './step.js';

/** Steps on noise in place of pictures, one to warm up and then for about `seconds`, but two at least. */
export function measureTraining(config: DeepReadonly<ResolvedTrainConfig>, seconds: number): number {
  const state = buildState(config);
  const settings = stepSettings(config);
  const { batch_size_per_gpu: size, device } = config;
  const step = () =>
    scope(() => {
      const crops = [
        { views: 2, side: config.global_crops_size },
        ...config.local_crops.map(({ count, size: side }) => ({ views: count, side })),
      ].map(({ views, side }) => randn([views * size, 3, side, side], { device }));
      return trainStep(state, [{ size, crops }], 1, settings(0)).loss; // the loss waits for the device
    });
  step();
  const started = performance.now();
  let steps = 0;
  while (steps < 2 || performance.now() - started < seconds * 1000) {
    step();
    steps++;
  }
  return (steps * size * 1000) / (performance.now() - started);
}
