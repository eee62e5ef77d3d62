import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chunkOrder } from '../../src/data/chunk-sampler.js';
import { classAwareOrder, classTargetOrder } from '../../src/data/class-sampler.js';
import { CropLoader, createSampler, dinoPlan, openImages, SAMPLERS } from '../../src/data/index.js';
import { repeatedOrder } from '../../src/data/repeated-sampler.js';
import { counting, deal } from '../../src/data/sampler.js';
import type { ImageSource } from '../../src/data/source.js';
import { encode, render, writeTree } from './pictures.js';

interface Golden {
  chunk: { sizes: number[]; world: number; ranksPerNode: number; epoch: number; ranks: number[][] }[];
  classAware: { bounds: [number, number][]; perClass: number; world: number; ranks: number[][] }[];
  classTarget: { bounds: [number, number][]; target: number; world: number; ranks: number[][] }[];
  repeated: {
    n: number;
    world: number;
    lengths: number[];
    heads: number[][];
    tails: number[][];
    sums: number[];
  }[];
  distributed: { n: number; world: number; ranks: number[][] }[];
}

/** What the original's samplers give (and DeiT's, and PyTorch's) with reversal in place of their shuffle. */
const golden = JSON.parse(
  readFileSync(new URL('../fixtures/data/samplers.json', import.meta.url), 'utf8'),
) as Golden;
const reverse = (items: Uint32Array) => void items.reverse();
const classesOf = (bounds: [number, number][]) => bounds.map(([low, high]) => counting(high - low, low));
const ranksOf = <T>(world: number, of: (rank: number) => T) =>
  Array.from({ length: world }, (_, rank) => of(rank));

describe('samplers equal the original’s, number by number', () => {
  it.each(golden.distributed)('distributed, $n pictures on $world ranks', ({ n, world, ranks }) => {
    const order = counting(n).reverse();
    expect(ranksOf(world, (rank) => [...deal(order, { rank, world })])).toEqual(ranks);
  });

  it.each(golden.chunk)('chunks of $sizes on $world ranks, epoch $epoch', (one) => {
    const { sizes, world, ranksPerNode, epoch, ranks } = one;
    const mine = ranksOf(world, (rank) => [
      ...chunkOrder(sizes, epoch, { rank, world, ranksPerNode }, reverse),
    ]);
    expect(mine).toEqual(ranks);
  });

  it.each(golden.classAware)('class by class, $perClass rounds on $world ranks', (one) => {
    const { bounds, perClass, world, ranks } = one;
    const mine = ranksOf(world, (rank) => [
      ...classAwareOrder(classesOf(bounds), perClass, { rank, world }, reverse).indices,
    ]);
    expect(mine).toEqual(ranks);
  });

  it.each(golden.classTarget)('classes to a target of $target on $world ranks', (one) => {
    const { bounds, target, world, ranks } = one;
    const mine = ranksOf(world, (rank) => [
      ...classTargetOrder(classesOf(bounds), target, { rank, world }, reverse, reverse),
    ]);
    expect(mine).toEqual(ranks);
  });

  it.each(golden.repeated)('repeated augmentation, $n pictures on $world ranks', (one) => {
    const mine = ranksOf(one.world, (rank) => repeatedOrder(one.n, 3, { rank, world: one.world }, reverse));
    expect(mine.map(({ indices }) => indices.length)).toEqual(one.lengths);
    expect(mine.map(({ indices }) => [...indices.slice(0, 8)])).toEqual(one.heads);
    expect(mine.map(({ indices }) => [...indices.slice(-4)])).toEqual(one.tails);
    expect(mine.map(({ indices }) => indices.reduce((a, b) => a + b, 0))).toEqual(one.sums);
  });
});

/** A source of labels and chunk sizes, without pictures. */
function labelled(labels: readonly number[], chunks: readonly number[] = [labels.length]): ImageSource {
  return {
    length: labels.length,
    labelKind: 'single',
    classes: Array.from({ length: 1 + Math.max(...labels) }, (_, i) => String(i)),
    description: 'list of labels',
    chunks,
    label: (index) => labels[index],
    labels: (index) => [labels[index]],
    key: String,
    read: () => new Uint8Array(),
    share: () => {
      throw new Error('not shared');
    },
    close: () => undefined,
  };
}

describe('every sampler', () => {
  const arbitrary = fc.record({
    labels: fc.array(fc.nat(6), { minLength: 24, maxLength: 90 }),
    parts: fc.integer({ min: 1, max: 3 }),
    nodes: fc.integer({ min: 1, max: 3 }),
    ranksPerNode: fc.integer({ min: 1, max: 3 }),
    seed: fc.nat(),
    epoch: fc.nat(50),
  });

  it.each(SAMPLERS)('%s: ranks get equally many, the same each time, others in another epoch', (name) => {
    fc.assert(
      fc.property(arbitrary, ({ labels, parts, nodes, ranksPerNode, seed, epoch }) => {
        const each = Math.floor(labels.length / parts);
        const chunks = Array.from({ length: parts }, (_, i) =>
          i === 0 ? labels.length - each * (parts - 1) : each,
        );
        const source = labelled(labels, chunks);
        const world = nodes * ranksPerNode;
        const samplers = ranksOf(world, (rank) =>
          createSampler(name, source, { seed, rank, world, ranksPerNode }),
        );
        const orders = samplers.map((sampler) => sampler.order(epoch));
        for (const [rank, { indices, repeats }] of orders.entries()) {
          expect(indices.length).toBe(samplers[rank].length);
          expect(samplers[rank].length).toBe(samplers[0].length);
          if (repeats !== undefined) expect(repeats.length).toBe(indices.length);
          for (const index of indices) expect(index).toBeLessThan(labels.length);
          samplers[rank].order(epoch + 1); // leaves no trace
          expect(samplers[rank].order(epoch)).toEqual(orders[rank]);
        }
        if (name === 'distributed')
          expect(new Set(orders.flatMap(({ indices }) => [...indices])).size).toBe(labels.length);
        const long = createSampler(name, source, { seed });
        expect([...long.order(epoch + 1).indices]).not.toEqual([...long.order(epoch).indices]);
      }),
      { seed: 1, numRuns: 60 },
    );
  });

  it('chunk keeps a machine in its shards, and the neighbours of a rank in one', () => {
    const chunks = [40, 44, 41, 47];
    const source = labelled(
      Array.from({ length: 172 }, () => 0),
      chunks,
    );
    const chunkOf = (index: number) => [40, 84, 125, 172].findIndex((end) => index < end);
    for (const epoch of [0, 1])
      for (let rank = 0; rank < 4; rank++) {
        const { order } = createSampler('chunk', source, { seed: 3, rank, world: 4, ranksPerNode: 2 });
        const visited = [...order(epoch).indices].map(chunkOf);
        const own = rank < 2 ? [0, 1] : [2, 3];
        const inTurn = epoch === 0 ? own : [...own].reverse();
        expect(visited).toEqual([...Array(20).fill(inTurn[0]), ...Array(20).fill(inTurn[1])]);
      }
  });

  it('class_aware gives every class as many, target_size as evenly as it can', () => {
    const labels = [...Array(50).fill(0), ...Array(5).fill(1), ...Array(11).fill(2)];
    const source = labelled(labels);
    const counts = (indices: Uint32Array) =>
      [0, 1, 2].map((label) => indices.reduce((sum, index) => sum + (labels[index] === label ? 1 : 0), 0));
    const of = (name: 'class_aware' | 'class_target', options: object) =>
      createSampler(name, source, { seed: 1, ...options }).order(2);
    expect(counts(of('class_aware', {}).indices)).toEqual([22, 22, 22]);
    expect(counts(of('class_aware', { samplesPerClass: 'median' }).indices)).toEqual([11, 11, 11]);
    const { indices, repeats } = of('class_aware', { samplesPerClass: 12 });
    const seen = new Set([...indices].map((index, i) => `${index}.${repeats?.[i]}`));
    expect(seen.size).toBe(36);
    expect(counts(of('class_target', { targetSize: 30 }).indices)).toEqual([14, 5, 11]);
    expect(counts(of('class_target', {}).indices)).toEqual([50, 5, 11]);
    expect(() => of('class_target', { targetSize: 67 })).toThrow('more than the 66');
  });

  it('says what it cannot work with', () => {
    const none = { ...labelled([0, 1, 2]), labelKind: 'none' as const };
    expect(() => createSampler('class_aware', none, { seed: 0 })).toThrow('needs one class a picture');
    const uneven = labelled([0, 0, 0, 0], [3, 1]);
    expect(() => createSampler('chunk', uneven, { seed: 0, world: 2 })).toThrow('the smallest has');
    expect(() => createSampler('chunk', uneven, { seed: 0, world: 3, ranksPerNode: 2 })).toThrow(
      'multiple of 2',
    );
  });
});

describe('a picture that comes again in an epoch', () => {
  it('is cropped anew each time', async () => {
    const root = writeTree({
      'a.png': await encode(render(40, 40, 1)),
      'b.png': await encode(render(40, 40, 2)),
    });
    const source = await openImages(join(root));
    const plan = dinoPlan({ globalSize: 16, localSizes: [8], localCounts: [1] });
    const { indices, repeats } = repeatedOrder(2, 3, { rank: 0, world: 1 }, reverse);
    expect([[...indices], [...(repeats ?? [])]]).toEqual([
      [1, 1],
      [0, 1],
    ]);
    const order = { indices: Uint32Array.of(1, 1, 1, 0, 0, 0), repeats: Uint32Array.of(0, 1, 2, 0, 1, 2) };
    const sampler = { length: 6, order: () => order };
    for (const workers of [0, 2]) {
      const loader = new CropLoader({ source, plan, seed: 4, batchSize: 6, workers, sampler });
      for await (const batch of loader.batches(0)) {
        const { groups } = batch;
        expect([...batch.indices]).toEqual([1, 1, 1, 0, 0, 0]);
        const bytes = groups[0].crops.bytes();
        const rows = Array.from({ length: 6 }, (_, i) =>
          Buffer.from(bytes.subarray(i * 768, i * 768 + 768)).toString('hex'),
        );
        expect(new Set(rows).size).toBe(6);
      }
      await loader.close();
    }
  });
});
