import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { CropLoader, dinoPlan, EvaluationLoader, openImages } from '../../src/data/index.js';
import { encode, render, writePictures, writeTree } from './pictures.js';

const plan = dinoPlan({ globalSize: 16, localSizes: [8], localCounts: [2] });

async function oddFolder(): Promise<string> {
  const picture = render(40, 30, 3);
  const raw = sharp(picture.data, { raw: { width: 40, height: 30, channels: 3 } });
  const jpeg = await encode(picture, 'jpeg');
  const png = await encode(picture);
  return writeTree({
    'a-truncated.jpg': jpeg.subarray(0, jpeg.length / 2),
    'b-truncated.png': png.subarray(0, png.length / 2),
    'c-zero-bytes.jpg': Buffer.alloc(0),
    'd-zeros.jpg': Buffer.alloc(500),
    'e-text.jpg': Buffer.from('<html>404 not found</html>'),
    'f-header-only.jpg': jpeg.subarray(0, 100),
    'g-cmyk.jpg': await raw.clone().toColourspace('cmyk').jpeg().toBuffer(),
    'h-16-bit.png': await raw.clone().toColourspace('rgb16').png().toBuffer(),
    'i-16-bit-grey.png': await raw.clone().toColourspace('grey16').png().toBuffer(),
    'j-grey.jpg': await raw.clone().toColourspace('b-w').jpeg().toBuffer(),
    'k-palette.png': await raw.clone().png({ palette: true, colours: 16 }).toBuffer(),
    'l-alpha.png': await raw.clone().ensureAlpha(0.5).png().toBuffer(),
    'm-rotated.jpg': await raw.clone().withMetadata({ orientation: 6 }).jpeg().toBuffer(),
    'n-one-pixel.png': await encode(render(1, 1, 1)),
    'o-one-pixel.jpg': await encode(render(1, 1, 1), 'jpeg'),
    'p-very-wide.png': await encode(render(20_000, 10, 1)),
    'q-very-tall.jpg': await encode(render(10, 20_000, 1), 'jpeg'),
    'r-really-a-png.jpg': png,
    's-webp.webp': await encode(picture, 'webp'),
    't-with-rubbish-behind.jpg': Buffer.concat([jpeg, Buffer.from('rubbish')]),
  });
}

const BAD = ['a', 'b', 'c', 'd', 'e', 'f'];

describe('odd pictures', () => {
  it('never stop a training loader: it uses them or names them', async () => {
    const source = await openImages(await oddFolder());
    expect(source.length).toBe(20);
    for (const workers of [0, 2]) {
      const named: string[] = [];
      const loader = new CropLoader({
        source,
        plan,
        seed: 1,
        batchSize: 10,
        workers,
        photometric: 'workers',
        onBadImage: ({ key, reason }) => {
          expect(reason.length).toBeGreaterThan(5);
          named.push(key[0]);
        },
      });
      const used = new Set<string>();
      for (let epoch = 0; epoch < 3; epoch++)
        for await (const { indices } of loader.batches(epoch))
          for (const index of indices) used.add(source.key(index)[0]);
      expect(loader.stats).toMatchObject({ batches: 6, images: 60, badImages: BAD.length });
      await loader.close();
      expect(named.sort()).toEqual(BAD);
      expect([...used].sort().join('')).toBe('ghijklmnopqrst');
    }
  });

  it('never stop an evaluation: the others come in order', async () => {
    const source = await openImages(await oddFolder());
    const loader = new EvaluationLoader({ source, batchSize: 6, workers: 2, plan: { resize: 20, size: 16 } });
    let seen = '';
    for await (const { indices } of loader.batches())
      for (const index of indices) seen += source.key(index)[0];
    expect(seen).toBe('ghijklmnopqrst');
    expect([...loader.badImages.values()].map(({ key }) => key[0]).sort()).toEqual(BAD);
    await loader.close();
  });
});

describe('memory of the loader', () => {
  it('does not grow from epoch to epoch', async () => {
    setFlagsFromString('--expose_gc');
    const collect = runInNewContext('gc') as () => void;
    const source = await openImages(await writePictures(24, 200));
    const loader = new CropLoader({
      source,
      plan,
      seed: 1,
      batchSize: 8,
      workers: 1,
      photometric: 'workers',
    });
    const sizes: number[] = [];
    for (let epoch = 0; epoch < 36; epoch++) {
      for await (const _ of loader.batches(epoch));
      collect();
      sizes.push(process.memoryUsage.rss());
    }
    await loader.close();
    // An epoch decodes 3 MB of pixels: kept, they would be 66 MB from the first mean to the last.
    const mean = (part: number[]) => part.reduce((sum, size) => sum + size, 0) / part.length;
    expect(mean(sizes.slice(-8)) - mean(sizes.slice(6, 14))).toBeLessThan(30e6);
  });
});
