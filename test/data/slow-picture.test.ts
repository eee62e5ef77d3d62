/** One picture that takes for ever holds up its own worker and its own batch, and nobody else. */

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { BatchEngine } from '../../src/data/batch-engine.js';
import { dinoPlan, type ImageSource, openImages } from '../../src/data/index.js';
import { writePictures } from './pictures.js';

const BATCH = 4;
const BATCHES = 5;
const PREFETCH = 2;
/** Looks at the workers, five milliseconds apart, before they are given up. */
const PATIENCE = 15_000;
const plan = dinoPlan({ globalSize: 16, localSizes: [8], localCounts: [2] });

function canMakePipes(): boolean {
  try {
    execFileSync('mkfifo', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Everything that the batches hold; `meanwhile` runs while the first one is awaited. */
async function collect(
  source: ImageSource,
  meanwhile: (engine: BatchEngine) => Promise<void> = async () => {},
): Promise<string[]> {
  const engine = new BatchEngine(
    { source, batchSize: BATCH, workers: 2, prefetch: PREFETCH },
    { plan, seed: 5, colours: true },
  );
  const indices = Uint32Array.from({ length: BATCH * BATCHES }, (_, i) => i);
  const texts: string[] = [];
  const batches = engine.run({ indices }, 0, 0, BATCHES);
  try {
    let next = batches.next();
    await meanwhile(engine);
    for (let item = await next; item.done !== true; item = await next) {
      const { indices: rows, groups, bytes } = item.value.views;
      const crops = groups.map(({ group: { size, views }, cropsOffset }) =>
        Buffer.from(bytes.subarray(cropsOffset, cropsOffset + views * BATCH * size * size * 3)).toString(
          'base64',
        ),
      );
      texts.push([rows.join(), ...crops].join(' '));
      next = batches.next();
    }
  } finally {
    await engine.close();
  }
  return texts;
}

it.skipIf(!canMakePipes())(
  'a slow picture leaves the other workers free, up to the prefetched batches',
  async () => {
    const root = await writePictures(BATCH * BATCHES);
    const source = await openImages(root);
    const expected = await collect(source);
    expect(expected).toHaveLength(BATCHES);
    // A pipe that nobody writes to: whoever reads the picture waits.
    const slow = join(root, source.key(0));
    const bytes = readFileSync(slow);
    rmSync(slow);
    execFileSync('mkfifo', [slow]);
    const found = await collect(source, async (engine) => {
      try {
        const areTaken = () => engine.slots.every(({ next }) => Atomics.load(next, 0) >= BATCH);
        for (let i = 0; i < PATIENCE && !areTaken(); i++)
          await new Promise((resolve) => setTimeout(resolve, 5));
        expect(areTaken()).toBe(true);
        expect(engine.slots).toHaveLength(PREFETCH + 1); // and no further: nothing more was asked for
        expect(engine.stats.batches).toBe(0);
      } finally {
        await writeFile(slow, bytes);
      }
    });
    expect(found).toEqual(expected);
    source.close();
  },
);
