/**
 * Mishaps of rank 1: loaded before the program (`--import`), which knows nothing of them.
 * ESVIT_TEST_FAULT says which one it is.
 */

import { existsSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import threads, { type WorkerOptions } from 'node:worker_threads';
import type { ProducerOptions } from '../../src/data/producer.js';
import type { Optimizer } from '../../src/optim/index.js';

/** Steps and batches that go well before. */
const STEPS = 30;

async function afterSteps(happens: (optimizer: Optimizer) => void): Promise<void> {
  const { AdamW } = await import('../../src/optim/index.js');
  const { step } = AdamW.prototype;
  let steps = 0;
  AdamW.prototype.step = function (this: Optimizer) {
    step.call(this);
    if (++steps === STEPS) happens(this);
  };
}

/** What happens in the first start, and in those that follow. */
const faults: Record<string, (() => Promise<void> | void)[]> = {
  'killed when starting, then when leaving': [
    () => {
      process.kill(process.pid, 'SIGKILL');
    },
    async () => {
      const { World } = await import('../../src/dist/index.js');
      World.prototype.leave = async () => {
        process.kill(process.pid, 'SIGKILL');
      };
    },
  ],

  /** A thread that loads pictures dies; then the folder of the pictures is gone. */
  'loader dies, then its pictures': [
    () => {
      threads.Worker = class extends threads.Worker {
        private orders = 0;
        override postMessage(value: unknown): void {
          if (++this.orders === STEPS) void this.terminate();
          else super.postMessage(value);
        }
      };
      syncBuiltinESMExports();
    },
    () => {
      threads.Worker = class extends threads.Worker {
        constructor(filename: string | URL, options: WorkerOptions) {
          const { source } = options.workerData as ProducerOptions;
          super(filename, {
            ...options,
            workerData: { ...options.workerData, source: { ...source, root: '/nowhere' } },
          });
        }
      };
      syncBuiltinESMExports();
    },
  ],

  /** It stands still until a file is there. */
  waits: [
    () =>
      afterSteps(() => {
        const cell = new Int32Array(new SharedArrayBuffer(4));
        while (!existsSync(process.env.ESVIT_TEST_GATE as string)) Atomics.wait(cell, 0, 0, 50);
      }),
  ],

  /** A weight changes as no other rank's does: its sign, so that its size stays. */
  'weights drift': [
    async () => {
      const { noGrad, scope } = await import('../../src/torch/index.js');
      await afterSteps(({ groups: [{ params }] }) => {
        noGrad(() => scope(() => params[0].copy_(params[0].neg())));
      });
    },
  ],
};

const { RANK, TORCHELASTIC_RESTART_COUNT, ESVIT_TEST_FAULT } = process.env;
if (RANK === '1') await faults[ESVIT_TEST_FAULT as string][Number(TORCHELASTIC_RESTART_COUNT)]?.();
