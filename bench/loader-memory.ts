/** Does the loader keep its memory over tens of thousands of samples? Small pictures, every step of a policy on. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import sharp from 'sharp';
import {
  CropLoader,
  networkInput,
  openImages,
  type PolicyName,
  policyPlan,
  RANDOM_ERASING,
  RandomStream,
} from '../src/data/index.js';
import { liveTensors, scope, setThreads } from '../src/torch/index.js';
import { table } from './peer.js';

const PICTURES = 2000;
const SIDE = 40;
const BATCH = 20;

/** A folder of small JPEGs, written once. */
async function drawPictures(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'esvit-loader-memory-'));
  const random = new RandomStream().key(0, 0, 0, 1);
  mkdirSync(join(folder, 'all'));
  for (let i = 0; i < PICTURES; i++) {
    const colour = [random.integer(256), random.integer(256), random.integer(256)];
    const data = Uint8Array.from({ length: SIDE * SIDE * 3 }, (_, at) => (colour[at % 3] + (at >> 4)) & 255);
    const picture = sharp(data, { raw: { width: SIDE, height: SIDE, channels: 3 } }).jpeg();
    writeFileSync(join(folder, 'all', `${i}.jpg`), await picture.toBuffer());
  }
  return folder;
}

/** What is left after JavaScript's garbage is gone, in MB. */
function memory(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage.rss() / 1e6;
}

async function loaderMemoryBench(samples: number, workers: number, policy: PolicyName): Promise<void> {
  setThreads(1);
  const folder = await drawPictures();
  try {
    const source = await openImages(folder);
    const plan = policyPlan(policy, {
      globalSize: 32,
      localSizes: [16],
      localCounts: [4],
      erasing: RANDOM_ERASING,
    });
    const loader = new CropLoader({
      source,
      plan,
      seed: 0,
      batchSize: BATCH,
      workers,
      photometric: 'workers',
    });
    const rows = [['samples', 'RSS (MB)', 'tensors']];
    const step = samples / 10;
    let seen = 0;
    const start = performance.now();
    for (let epoch = 0; seen < samples; epoch++)
      for await (const { groups } of loader.batches(epoch)) {
        scope(() => groups.forEach((group) => void networkInput(group)));
        seen += BATCH;
        if (seen % step === 0) rows.push([String(seen), memory().toFixed(1), String(liveTensors())]);
        if (seen >= samples) break;
      }
    const seconds = (performance.now() - start) / 1000;
    await loader.close();
    source.close();
    console.log(`${policy}, ${workers} workers, ${(samples / seconds).toFixed(0)} samples/s`);
    console.log(table(rows));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const argument = (name: string) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};

await loaderMemoryBench(
  Number(argument('samples') ?? 50_000),
  Number(argument('workers') ?? 2),
  (argument('policy') ?? 'deit_aug') as PolicyName,
);
