/** What automatic settings depend on: the data and the machine, measured before a run. */

import { cpus, totalmem } from 'node:os';
import { decode, type ImageSource } from '../data/index.js';
import { sharedValue, type World } from '../dist/index.js';
import { type DType, noGrad, randn, scope, setThreads, torchInfo } from '../torch/index.js';
import type { TrainFacts } from './request.js';

/** Pictures whose size is looked at, spread over the set. */
const SAMPLES = 25;

export async function measureFacts(source: ImageSource): Promise<TrainFacts> {
  const cores = cpus().length;
  setThreads(cores);
  const gpuCount = torchInfo().cudaDevices;
  const device = gpuCount > 0 ? 'cuda' : 'cpu';
  return {
    images: source.length,
    labelled: source.labelKind === 'single',
    medianSize: await medianSide(source),
    cores,
    memory: totalmem(),
    device,
    gpuCount,
    fastBf16: isBf16Fast(device),
  };
}

/** Median of the shorter sides of a sample; 224 where none of it can be read. */
async function medianSide(source: ImageSource): Promise<number> {
  const sides: number[] = [];
  const count = Math.min(SAMPLES, source.length);
  for (let i = 0; i < count; i++) {
    const index = Math.floor(((i + 0.5) * source.length) / count);
    try {
      const { width, height } = await decode(await source.read(index));
      sides.push(Math.min(width, height));
    } catch {
      // unreadable pictures are counted and named when training meets them
    }
  }
  sides.sort((a, b) => a - b);
  return sides[sides.length >> 1] ?? 224;
}

/** Sides of matrices whose product takes longer than it takes to ask for it. */
const SIDE = { cpu: 384, cuda: 4096 } as const;

/** Emulated bfloat16 is many times slower than float32: a product of two matrices tells. */
export function isBf16Fast(device: 'cpu' | 'cuda'): boolean {
  return noGrad(() =>
    scope(() => {
      const seconds = (dtype: DType): number => {
        const x = randn([SIDE[device], SIDE[device]], { device }).to({ dtype });
        x.matmul(x).sumAll().to({ dtype: 'float32' }).item(); // warm-up
        let best = Number.POSITIVE_INFINITY;
        for (let round = 0; round < 3; round++) {
          const start = performance.now();
          x.matmul(x).sumAll().to({ dtype: 'float32' }).item();
          best = Math.min(best, performance.now() - start);
        }
        return best;
      };
      return seconds('bfloat16') < 1.2 * seconds('float32');
    }),
  );
}

/**
 * Facts for several processes: rank 0's, so that all settle the same, but a machine's cores and memory are shared by
 * the processes on it.
 */
export function shareFacts(own: TrainFacts, { collectives, placement, worldSize }: World): TrainFacts {
  const { localWorldSize } = placement;
  const first = sharedValue(collectives, () => ({ ...own, memory: own.memory / localWorldSize }));
  return { ...first, cores: Math.max(1, Math.floor(own.cores / localWorldSize)), worldSize };
}
