/** Features of a set of pictures: one row each, of unit length, whatever the batches. */

import { describe, expect, it } from 'vitest';
import { openImages } from '../../src/data/index.js';
import { UserError } from '../../src/errors.js';
import { evaluationPlan, extractFeatures, extractPixels, knnAccuracy } from '../../src/eval/index.js';
import { liveTensors, manualSeed, setThreads, type Tensor } from '../../src/torch/index.js';
import { writePictures, writeTree } from '../data/pictures.js';
import { microBackbone } from '../ssl/micro.js';

setThreads(1);

const options = { plan: evaluationPlan(16), batchSize: 3, workers: 0, device: 'cpu' };
const numbers = (x: Tensor) => Array.from(x.toArray(), Number);

/** Kept, so that no garbage of an earlier test goes while a later one counts what is alive. */
const backbones: ReturnType<typeof microBackbone>[] = [];

function backboneOf(...options: Parameters<typeof microBackbone>): ReturnType<typeof microBackbone> {
  const backbone = microBackbone(...options);
  backbones.push(backbone);
  return backbone;
}

async function folder() {
  return openImages(await writePictures(8, 20, { 'class1/broken.png': Buffer.from('no picture') }));
}

describe('extractFeatures', () => {
  it('gives a row of unit length for every readable picture, in order', async () => {
    const source = await folder();
    manualSeed(1);
    const backbone = backboneOf();
    const { features, labels, indices, skipped } = await extractFeatures(backbone, source, options);
    expect(features.shape).toEqual([8, backbone.featureDim]);
    for (const length of numbers(features.norm(2, [1]))) expect(length).toBeCloseTo(1, 5);
    expect(skipped).toBe(1);
    const broken = Array.from({ length: source.length }, (_, i) => i).find((i) =>
      source.key(i).includes('broken'),
    );
    expect([...indices]).toEqual([...Array(9).keys()].filter((i) => i !== broken));
    expect(numbers(labels)).toEqual([...indices].map((i) => source.label(i)));
    source.close();
  });

  it('does not depend on the batches, and leaves no tensors behind but its table', async () => {
    const source = await folder();
    manualSeed(1);
    const backbone = backboneOf();
    const before = liveTensors();
    const one = await extractFeatures(backbone, source, options);
    const masks = liveTensors() - before - 2; // shift masks are made once
    const all = await extractFeatures(backbone, source, { ...options, batchSize: 100 });
    expect(liveTensors()).toBe(before + masks + 4);
    for (const [i, value] of numbers(all.features).entries())
      expect(value).toBeCloseTo(numbers(one.features)[i], 5);
    source.close();
  });

  it('puts the mode of the backbone back', async () => {
    const source = await folder();
    const backbone = backboneOf({ dropPathRate: 0.9 });
    const [first, second] = [
      await extractFeatures(backbone.train(), source, options),
      await extractFeatures(backbone, source, options),
    ];
    expect(backbone.training).toBe(true);
    expect(numbers(first.features)).toEqual(numbers(second.features)); // nothing was dropped
    await extractFeatures(backbone.eval(), source, options);
    expect(backbone.training).toBe(false);
    source.close();
  });

  it('takes the pictures that are wanted, in their order, and tells how far it is', async () => {
    const source = await folder();
    const seen: number[] = [];
    const wanted = Uint32Array.of(8, 0, 5, 1);
    const { indices } = await extractFeatures(backboneOf(), source, {
      ...options,
      indices: wanted,
      onProgress: (done) => seen.push(done),
    });
    expect([...indices]).toEqual([...wanted]);
    expect(seen).toEqual([3, 4]);
    source.close();
  });

  it('refuses a set of which nothing can be read', async () => {
    const source = await openImages(writeTree({ 'a/x.png': 'no', 'b/y.png': 'neither' }));
    const attempt = extractFeatures(backboneOf(), source, options);
    await expect(attempt).rejects.toThrow(UserError);
    await expect(attempt).rejects.toThrow(/2 of 2 pictures cannot be read/);
    source.close();
  });
});

describe('extractPixels', () => {
  it('gives the pixels themselves: each picture is its own nearest neighbour', async () => {
    const source = await folder();
    const table = await extractPixels(source, options);
    expect(table.features.shape).toEqual([8, 3 * 16 * 16]);
    const [{ top1 }] = knnAccuracy(table, table, { ks: [1], temperatures: [0.07] });
    expect(top1).toBe(100);
    source.close();
  });
});

it('the evaluation crop is 7/8 of the picture, as 224 of 256', () => {
  expect(evaluationPlan(224)).toEqual({ resize: 256, size: 224 });
  expect(evaluationPlan(96)).toEqual({ resize: 110, size: 96 });
});
