/** The loader's memory stays flat over a few thousand samples; bench/loader-memory.ts looks at many more. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { CropLoader, networkInput, openImages, policyPlan, RANDOM_ERASING } from '../../src/data/index.js';
import { liveTensors, scope, setThreads } from '../../src/torch/index.js';
import { writePictures } from '../data/pictures.js';

const PICTURES = 100;
const WARM_UP = 10;
const EPOCHS = 30;
/** Bytes. The crops of one sample are 26 kB: less than half of the samples would go beyond it if they stayed. */
const MOST_GROWTH = 30e6;

/** How much room the heap takes for garbage is V8's own affair: it is left out. */
function measure(): { native: number; tensors: number } {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { rss, heapTotal } = process.memoryUsage();
  return { native: rss - heapTotal, tensors: liveTensors() };
}

it('thousands of samples leave no memory behind, with every step of a policy on', async () => {
  setThreads(1);
  const source = await openImages(await writePictures(PICTURES, 40));
  const plan = policyPlan('deit_aug', {
    globalSize: 48,
    localSizes: [32],
    localCounts: [4],
    erasing: { ...RANDOM_ERASING, probability: 0.5 },
  });
  const loader = new CropLoader({ source, plan, seed: 0, batchSize: 20, photometric: 'workers' });
  const run = async (first: number, epochs: number) => {
    let rows = 0;
    for (let epoch = first; epoch < first + epochs; epoch++)
      for await (const { groups, indices } of loader.batches(epoch)) {
        scope(() => groups.forEach((group) => void networkInput(group)));
        rows += indices.length;
      }
    return rows;
  };
  await run(0, WARM_UP);
  const before = measure();
  expect(await run(WARM_UP, EPOCHS)).toBe(EPOCHS * PICTURES);
  const after = measure();
  await loader.close();
  source.close();
  expect(after.tensors).toBe(before.tensors);
  expect(after.native - before.native).toBeLessThan(MOST_GROWTH);
});
