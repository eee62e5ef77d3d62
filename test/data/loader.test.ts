import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  type BadImage,
  CropLoader,
  type CropLoaderOptions,
  cacheFor,
  decode,
  dinoPlan,
  EvaluationLoader,
  evaluationJob,
  openImages,
  resampleOne,
} from '../../src/data/index.js';
import { liveTensors } from '../../src/torch/index.js';
import { encode, render, writePictures, writeTree } from './pictures.js';

const plan = dinoPlan({ globalSize: 16, localSizes: [8, 6], localCounts: [2, 1] });

/** All that an epoch gives, as text: two runs are equal if their texts are. */
async function epochText(options: Partial<CropLoaderOptions> & { root: string }, epoch = 0, start = 0) {
  const source = await openImages(options.root);
  const loader = new CropLoader({ source, plan, seed: 11, batchSize: 4, ...options });
  const texts: string[] = [];
  for await (const batch of loader.batches(epoch, start)) {
    const parts = batch.groups.flatMap(({ crops, draws }) => [
      Buffer.from(crops.bytes()).toString('base64'),
      ...Object.values(draws).map((values: Uint8Array | Float32Array) => values.join()),
    ]);
    texts.push([batch.iteration, batch.indices.join(), batch.labels.join(), ...parts].join('|'));
  }
  await loader.close();
  return texts;
}

describe('the crop loader', () => {
  it('gives the same batches with 0, 1, 2 and 4 workers, with and without a cache', async () => {
    const root = await writePictures(30);
    const alone = await epochText({ root });
    expect(alone).toHaveLength(7);
    for (const workers of [1, 2, 4]) expect(await epochText({ root, workers })).toEqual(alone);
    const cache = await cacheFor(await openImages(root));
    expect(cache).toBeDefined();
    expect(await epochText({ root, workers: 2, cache: cache! })).toEqual(alone);
    expect(await epochText({ root, workers: 1, cache: cache! })).toEqual(alone);
    expect(cache!.used).toBeGreaterThan(0);
  });

  it('goes on in the middle of an epoch, and differs between epochs and seeds', async () => {
    const root = await writePictures(21);
    const whole = await epochText({ root }, 3);
    expect(await epochText({ root, workers: 2 }, 3, 2)).toEqual(whole.slice(2));
    expect((await epochText({ root }, 4))[0]).not.toBe(whole[0]);
    expect((await epochText({ root, seed: 12 }, 3))[0]).not.toBe(whole[0]);
  });

  it('keeps the crops of a picture whatever rank sees it', async () => {
    const root = await writePictures(16);
    const source = await openImages(root);
    const seen = async (rank: number, world: number) => {
      const loader = new CropLoader({ source, plan, seed: 1, batchSize: 2, rank, world });
      const crops = new Map<number, string>();
      for await (const { indices, groups } of loader.batches(0)) {
        const bytes = groups[0].crops.bytes();
        const size = 16 * 16 * 3;
        indices.forEach((index, row) => {
          const views = [0, 1].map((view) =>
            Buffer.from(bytes.subarray((view * 2 + row) * size, (view * 2 + row + 1) * size)),
          );
          crops.set(index, Buffer.concat(views).toString('base64'));
        });
      }
      await loader.close();
      return crops;
    };
    const all = await seen(0, 1);
    const halves = [await seen(0, 2), await seen(1, 2)];
    expect(all.size).toBe(16);
    expect(new Map([...halves[0], ...halves[1]])).toEqual(
      new Map([...halves[0], ...halves[1]].map(([i]) => [i, all.get(i)])),
    );
    expect(halves[0].size + halves[1].size).toBe(16);
  });

  it('replaces unreadable pictures, the same way always, and names them once', async () => {
    const jpeg = await encode(render(30, 30, 1), 'jpeg');
    const root = await writePictures(20, 24, {
      'class0/bad.jpg': jpeg.subarray(0, 300),
      'class1/empty.png': Buffer.alloc(0),
      'class2/text.png': Buffer.from('not a picture at all, only text'),
    });
    const bad: BadImage[] = [];
    const texts: string[][] = [];
    for (const workers of [0, 2]) {
      const source = await openImages(root);
      const loader = new CropLoader({
        source,
        plan,
        seed: 2,
        batchSize: 23,
        workers,
        onBadImage: (b) => bad.push(b),
      });
      const labels = (i: number) => source.label(i);
      for (let epoch = 0; epoch < 2; epoch++)
        for await (const batch of loader.batches(epoch)) {
          texts.push([batch.indices.join(), Buffer.from(batch.groups[1].crops.bytes()).toString('base64')]);
          expect([...batch.labels]).toEqual([...batch.indices].map(labels));
          for (const index of batch.indices) expect(loader.badImages.has(index)).toBe(false);
        }
      expect(loader.stats).toMatchObject({ batches: 2, images: 46, badImages: 3 });
      await loader.close();
    }
    expect(texts.slice(0, 2)).toEqual(texts.slice(2));
    expect(
      bad
        .slice(0, 3)
        .map(({ key }) => key)
        .sort(),
    ).toEqual(['class0/bad.jpg', 'class1/empty.png', 'class2/text.png']);
    expect(bad).toHaveLength(6);
    expect(bad.find(({ key }) => key.includes('empty'))?.reason).toBe('the file is empty');
  });

  it('goes on when files vanish while it runs', async () => {
    for (const workers of [0, 2]) {
      const root = await writePictures(24);
      const source = await openImages(root);
      const loader = new CropLoader({ source, plan, seed: 3, batchSize: 8, workers, prefetch: 0 });
      const gone = new Set([source.key(3), source.key(17)]);
      for (let epoch = 0; epoch < 2; epoch++) {
        for await (const { indices } of loader.batches(epoch))
          for (const index of indices) if (epoch > 0) expect(gone).not.toContain(source.key(index));
        if (epoch === 0) for (const key of gone) rmSync(join(root, key));
      }
      const bad = [...loader.badImages.values()];
      expect(new Set(bad.map(({ key }) => key))).toEqual(gone);
      for (const { reason } of bad) expect(reason).toContain('ENOENT');
      await loader.close();
    }
  });

  it('stops where too much is unreadable', async () => {
    const files: Record<string, Buffer> = {};
    for (let i = 0; i < 9; i++) files[`${i}.png`] = Buffer.from('nothing');
    files['9.png'] = await encode(render(9, 9, 1));
    const source = await openImages(writeTree(files));
    for (const workers of [0, 1]) {
      const loader = new CropLoader({ source, plan, seed: 0, batchSize: 8, workers });
      await expect(loader.batches(0).next()).rejects.toThrow(/cannot be read/);
      await loader.close();
    }
    const none = await openImages(writeTree({ 'a.png': 'x', 'b.png': 'y' }));
    const loader = new CropLoader({ source: none, plan, seed: 0, batchSize: 2, maxBadFraction: 1 });
    await expect(loader.batches(0).next()).rejects.toThrow('51 pictures in a row');
    await loader.close();
    expect(() => new CropLoader({ source: none, plan, seed: 0, batchSize: 3 })).toThrow(
      'larger than an epoch',
    );
  });

  it('can be left early and used again, without a leak', async () => {
    const source = await openImages(await writePictures(40));
    const before = liveTensors();
    const loader = new CropLoader({ source, plan, seed: 5, batchSize: 4, workers: 2, prefetch: 3 });
    for (let epoch = 0; epoch < 5; epoch++)
      for await (const batch of loader.batches(epoch)) if (batch.iteration === epoch) break;
    let count = 0;
    for await (const _ of loader.batches(9)) count++;
    expect(count).toBe(10);
    await loader.close();
    expect(liveTensors()).toBe(before);
  });

  it('names a worker that dies', async () => {
    const source = await openImages(await writePictures(4));
    // What arrives in the worker is no source at all.
    const odd = new Proxy(source, {
      get: (target, name) => (name === 'share' ? () => ({ kind: 'files' }) : Reflect.get(target, name)),
    });
    const loader = new CropLoader({ source: odd, plan, seed: 5, batchSize: 4, workers: 2 });
    await expect(loader.batches(0).next()).rejects.toThrow(/data worker \d of 2 died/);
    await loader.close();
  });
});

describe('the evaluation loader', () => {
  it('gives every readable picture once, in order, exactly resized', async () => {
    const root = await writePictures(11, 24, { 'class1/0004b.png': Buffer.from('broken') });
    const source = await openImages(root);
    for (const workers of [0, 2]) {
      const loader = new EvaluationLoader({ source, batchSize: 4, workers, plan: { resize: 20, size: 16 } });
      const seen: number[] = [];
      for await (const { indices, labels, pixels } of loader.batches()) {
        expect(pixels.shape).toEqual([indices.length, 16, 16, 3]);
        const bytes = pixels.bytes();
        for (let row = 0; row < indices.length; row++) {
          const picture = await decode(await source.read(indices[row]));
          const expected = resampleOne(
            picture,
            evaluationJob(picture.height, picture.width, { resize: 20, size: 16 }, 0),
          );
          expect(Buffer.compare(bytes.subarray(row * 768, row * 768 + 768), expected)).toBe(0);
          expect(labels[row]).toBe(source.label(indices[row]));
        }
        seen.push(...indices);
      }
      const bad = [...loader.badImages.values()];
      expect(bad.map(({ key }) => key)).toEqual([join('class1', '0004b.png')]);
      expect(seen).toEqual(Array.from({ length: 12 }, (_, i) => i).filter((i) => i !== bad[0].index));
      await loader.close();
    }
  });

  it('takes a choice of pictures', async () => {
    const source = await openImages(await writePictures(9));
    const loader = new EvaluationLoader({ source, batchSize: 2, indices: Uint32Array.of(7, 0, 3) });
    const seen: number[] = [];
    for await (const { indices, pixels } of loader.batches()) {
      seen.push(...indices);
      expect(pixels.shape.slice(1)).toEqual([224, 224, 3]);
    }
    expect(seen).toEqual([7, 0, 3]);
    await loader.close();
  });
});
