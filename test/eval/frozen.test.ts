/** Frozen means frozen: what is looked at does not change, and looks the same every time. */

import { afterAll, describe, expect, it } from 'vitest';
import { type ImageSource, openImages } from '../../src/data/index.js';
import { evaluationPlan, extractFeatures, freeze } from '../../src/eval/index.js';
import { type Backbone, buildBackbone } from '../../src/models/index.js';
import { BatchNorm, Module } from '../../src/nn/index.js';
import { manualSeed, setThreads, type Tensor } from '../../src/torch/index.js';
import { writePictures } from '../data/pictures.js';

setThreads(1);

/** Everything that could move: drop out of tokens, of attention, of whole paths, and running statistics. */
const NETWORKS: Record<string, () => Backbone> = {
  'Swin with drop out, attention drop out and drop path': () =>
    buildBackbone({
      arch: 'swin',
      imgSize: 16,
      spec: {
        PATCH_SIZE: 4,
        DIM_EMBED: 8,
        DEPTHS: [2, 1],
        NUM_HEADS: [2, 4],
        WINDOW_SIZE: 2,
        DROP_RATE: 0.5,
        ATTN_DROP_RATE: 0.5,
        DROP_PATH_RATE: 0.9,
      },
    }),
  'ResNet-18 with batch norm': () => buildBackbone({ arch: 'resnet18', imgSize: 16 }),
};

const sources: ImageSource[] = [];
afterAll(() => {
  for (const source of sources) source.close();
});

async function pictures(): Promise<ImageSource> {
  const source = await openImages(await writePictures(5, 20));
  sources.push(source);
  return source;
}

const copyOf = (module: Module) =>
  new Map([...module.stateDict()].map(([name, value]) => [name, value.detach().clone()]));

describe.each(Object.entries(NETWORKS))('%s', (_, build) => {
  it.each([{ kind: 'pooled' as const }, { kind: { blocks: 2, avgpoolPatchTokens: false } }])(
    'in training mode gives the same $kind features twice, and keeps its state and its modes',
    async ({ kind }) => {
      manualSeed(1);
      const backbone = build().train();
      const before = copyOf(backbone);
      const source = await pictures();
      const options = {
        plan: evaluationPlan(16),
        batchSize: 2, // pictures in other batches: batch statistics would show
        workers: 0,
        device: 'cpu',
        kind,
      };
      const first = await extractFeatures(backbone, source, options);
      const second = await extractFeatures(backbone, source, { ...options, batchSize: 5 });
      const difference = first.features.sub(second.features).abs().max().item();
      expect(difference).toBeLessThan(1e-4);
      expect(first.features.requiresGrad).toBe(false);
      const changed = [...backbone.stateDict()].filter(
        ([name, value]) => !value.equal(before.get(name) as Tensor),
      );
      expect(changed.map(([name]) => name)).toEqual([]);
      expect(backbone.parameters().every(({ grad }) => grad === null)).toBe(true);
      expect([...backbone.modules()].every(([, part]) => part.training)).toBe(true);
    },
    60_000,
  );
});

describe('freeze', () => {
  class Mixed extends Module {
    readonly first = new BatchNorm(2);
    readonly second = new BatchNorm(2);
  }

  it('gives every part its own mode back, also one that was frozen before', () => {
    const module = new Mixed();
    module.second.eval();
    const restore = freeze(module);
    expect([...module.modules()].map(([, part]) => part.training)).toEqual([false, false, false]);
    restore();
    expect([module.training, module.first.training, module.second.training]).toEqual([true, true, false]);
  });
});
