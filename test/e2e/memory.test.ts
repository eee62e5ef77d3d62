/** Memory stays flat over a thousand training steps. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { liveTensors, scope, setThreads } from '../../src/torch/index.js';
import { trainStep } from '../../src/train/index.js';
import { microBatch, microState } from '../ssl/micro.js';

const WARM_UP = 100;
const STEPS = 1000;
/** Bytes outside and inside of JavaScript's heap. A tensor of a step that stays would cost far more. */
const MOST_GROWTH = { native: 20e6, heap: 5e6 };

const settings = {
  epoch: 1,
  lr: 1e-4,
  weightDecay: 0.04,
  momentum: 0.99,
  clipGrad: 3,
  freezeLastLayer: false,
  precision: 'float32',
} as const;

/** How much room the heap takes for garbage is V8's own affair: it is left out. */
function measure(): { native: number; heap: number; tensors: number } {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { rss, heapTotal, heapUsed } = process.memoryUsage();
  return { native: rss - heapTotal, heap: heapUsed, tensors: liveTensors() };
}

it('a thousand steps leave no tensor behind, and no memory', () => {
  setThreads(1);
  const state = microState({ dropPathRate: 0.1 });
  const batch = microBatch(1);
  const train = (steps: number) => {
    for (let i = 0; i < steps; i++) {
      const { taken } = scope(() => trainStep(state, [batch], 1, settings));
      if (!taken) throw new Error(`step ${i} was not taken`);
    }
  };
  train(WARM_UP);
  const before = measure();
  train(STEPS);
  const after = measure();
  expect(after.tensors).toBe(before.tensors);
  expect(after.native - before.native).toBeLessThan(MOST_GROWTH.native);
  expect(after.heap - before.heap).toBeLessThan(MOST_GROWTH.heap);
});
