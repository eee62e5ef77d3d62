/** What every backbone of the registry must do, asked of each in the same words. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Backbone,
  type BackboneRequest,
  backboneNames,
  buildBackbone,
  miniature,
} from '../../src/models/index.js';
import { BatchNorm, withoutInitialisation } from '../../src/nn/index.js';
import {
  backward,
  liveTensors,
  manualSeed,
  noGrad,
  randn,
  scope,
  setThreads,
  type Tensor,
} from '../../src/torch/index.js';
import {
  backboneState,
  loadWeights,
  readWeights,
  toStateDict,
  writePth,
  writeSafetensors,
} from '../../src/weights/index.js';
import { gridOf, VARIANTS } from './families.js';

setThreads(1);

const folder = mkdtempSync(join(tmpdir(), 'esvit-contract-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Square, not square, odd; none needs to be a multiple of anything. */
const SIZES = [
  [64, 64],
  [96, 48],
  [71, 53],
  [37, 90],
] as const;

/** Those of training, for networks that are made for them. */
const USUAL_SIZES = [
  [224, 224],
  [96, 96],
] as const;

const BATCH = 2;

/** Every name once, and what no name has by default; names of the very same network are tried together. */
const requests = new Map<string, { names: string[]; request: BackboneRequest }>();
for (const [name, request] of [
  ...backboneNames.map((arch) => [arch, miniature(arch)] as const),
  ...Object.entries(VARIANTS),
]) {
  const network = withoutInitialisation(() => buildBackbone(request));
  const { arch: _arch, ...rest } = request;
  const key = JSON.stringify([[...network.stateDict()].map(([key, { shape }]) => [key, shape]), rest]);
  const same = requests.get(key);
  if (same === undefined) requests.set(key, { names: [name], request });
  else same.names.push(name);
}

const cases = [...requests.values()].map(({ names, request }) => [names.join(', '), request] as const);

describe.each(cases)('%s', (title, request) => {
  let backbone: Backbone;
  let blocks: number;
  /** the width of each block */
  let widths: number[];

  const pictures = (height: number, width: number, batch = BATCH) => randn([batch, 3, height, width]);
  const build = (more: Partial<BackboneRequest> = {}) => buildBackbone({ ...request, ...more });

  beforeAll(() => {
    manualSeed(0);
    backbone = build();
    blocks = backbone.depths.reduce((a, b) => a + b, 0);
    backbone.eval();
    noGrad(() =>
      scope(() => {
        const x = pictures(64, 64);
        const sums = Array.from({ length: blocks }, (_, i) => backbone.blockFeatures(x, i + 1).shape[1]);
        widths = sums.map((sum, i) => sum - (sums[i - 1] ?? 0)).reverse();
      }),
    );
  });

  it('is as wide as it says, with one width in a stage', () => {
    expect(widths[widths.length - 1]).toBe(backbone.featureDim);
    let first = 0;
    for (const depth of backbone.depths) {
      expect(new Set(widths.slice(first, first + depth)).size).toBe(1);
      first += depth;
    }
  });

  it.each([...SIZES, ...USUAL_SIZES])('describes pictures of %d x %d, training and not', (height, width) => {
    for (const mode of height > 100 ? [false] : [true, false])
      noGrad(() =>
        scope(() => {
          backbone.train(mode);
          const { pooled, tokens, grid } = backbone.forwardFeatures(pictures(height, width));
          const expected = gridOf(request, height, width);
          if (expected !== undefined) expect(grid).toEqual(expected);
          expect(Math.min(...grid)).toBeGreaterThan(0);
          expect(pooled.shape).toEqual([BATCH, backbone.featureDim]);
          expect(tokens.shape).toEqual([BATCH, grid[0] * grid[1], backbone.featureDim]);
          expect(allFinite(pooled) && allFinite(tokens)).toBe(true);
        }),
      );
  });

  it('says the same of a picture whoever stands beside it, when not training', () => {
    backbone.eval();
    noGrad(() =>
      scope(() => {
        const x = pictures(64, 64);
        const both = backbone.forwardFeatures(x);
        expect(distance(backbone.forwardFeatures(x).pooled, both.pooled)).toBe(0);
        for (let i = 0; i < BATCH; i++) {
          const one = backbone.forwardFeatures(x.narrow(0, i, 1));
          const close = 1e-5 * (1 + both.tokens.abs().max().item());
          expect(distance(one.pooled, both.pooled.narrow(0, i, 1))).toBeLessThan(close);
          expect(distance(one.tokens, both.tokens.narrow(0, i, 1))).toBeLessThan(close);
        }
      }),
    );
  });

  it('tells left from right and above from below', () => {
    backbone.eval();
    noGrad(() =>
      scope(() => {
        const x = pictures(64, 96);
        const { tokens, grid } = backbone.forwardFeatures(x);
        for (const axis of [2, 3]) {
          const other = backbone.forwardFeatures(x.flip([axis])).tokens;
          expect(distance(other, tokens)).toBeGreaterThan(0);
        }
        const tall = backbone.forwardFeatures(x.transpose(2, 3));
        expect(tall.grid).toEqual([grid[1], grid[0]]);
      }),
    );
  });

  it('draws its drop paths when training, unless there are none', () => {
    const steady = build({ dropPathRate: 0, ...withoutDropout(request) });
    const shaky = build({ dropPathRate: 0.5, ...withoutDropout(request) });
    const hasDropPath = !/^resnet/.test(request.arch);
    const hasBatchNorm = [...backbone.modules()].some(([, module]) => module instanceof BatchNorm);
    noGrad(() =>
      scope(() => {
        const x = pictures(64, 64);
        for (const network of [steady, shaky]) {
          const quiet = network.eval().forwardFeatures(x).pooled;
          const first = network.train().forwardFeatures(x).pooled;
          const second = network.forwardFeatures(x).pooled;
          const draws = network === shaky && hasDropPath;
          // a batch norm may add up in another order, in another thread
          expect(distance(first, second) > 1e-4).toBe(draws);
          expect(distance(first, quiet) > 1e-4).toBe(draws || hasBatchNorm);
        }
      }),
    );
  });

  it('has finite gradients for every parameter, whatever the size', () => {
    backbone.train();
    for (const [height, width] of SIZES.slice(0, 3)) {
      backbone.zeroGrad();
      scope(() => {
        const { pooled, tokens } = backbone.forwardFeatures(pictures(height, width));
        backward([pooled, tokens], [randn([...pooled.shape]), randn([...tokens.shape])]);
      });
      const wrong = [...backbone.namedParameters()].filter(
        ([, { grad, requiresGrad }]) => requiresGrad && (grad === null || !allFinite(grad)),
      );
      expect(wrong.map(([name]) => name)).toEqual([]);
    }
    backbone.zeroGrad();
  });

  it('gives the features of its last blocks, the last of them the pooled ones', () => {
    backbone.eval();
    noGrad(() =>
      scope(() => {
        const x = pictures(64, 64);
        for (const count of [1, 2, blocks]) expect(allFinite(backbone.blockFeatures(x, count))).toBe(true);
        const { pooled, tokens } = backbone.forwardFeatures(x);
        const close = 1e-5 * (1 + tokens.abs().max().item());
        expect(distance(backbone.blockFeatures(x, 1), pooled)).toBeLessThan(close);
        const all = backbone.blockFeatures(x, blocks);
        const two = backbone.blockFeatures(x, 2);
        expect(distance(all.narrow(1, all.shape[1] - two.shape[1], two.shape[1]), two)).toBe(0);
        // with a class token the mean of the regions says more; without it is what is pooled anyway
        const more = backbone.blockFeatures(x, 1, { avgpoolPatchTokens: true });
        expect([1, 2]).toContain(more.shape[1] / backbone.featureDim);
        const tail = more.narrow(1, more.shape[1] - backbone.featureDim, backbone.featureDim);
        expect(distance(tail, tokens.mean([1]))).toBeLessThan(close);
      }),
    );
  });

  it('shows the attention of every block, or of none: each row sums to 1', () => {
    backbone.eval();
    noGrad(() =>
      scope(() => {
        const maps = backbone.attentionMaps(pictures(71, 53));
        if (/^(?:swin|cvt|cls_|vil|vision_longformer|vit|deit)/.test(request.arch))
          expect(maps.length).toBe(blocks);
        if (maps.length === 0) return;
        expect(maps.map(({ block }) => block)).toEqual(widths.map((_, i) => i));
        expect(maps.map(({ stage }) => stage)).toEqual(
          backbone.depths.flatMap((depth, stage) => Array(depth).fill(stage)),
        );
        for (const { probabilities, grid, windowSize } of maps) {
          const [count, , queries, keys] = probabilities.sizes(4);
          expect(queries).toBe(keys);
          if (windowSize > 0) {
            const windows = Math.ceil(grid[0] / windowSize) * Math.ceil(grid[1] / windowSize);
            expect([count, keys]).toEqual([BATCH * windows, windowSize ** 2]);
          } else {
            expect(count).toBe(BATCH);
            expect(keys).toBeGreaterThanOrEqual(grid[0] * grid[1]);
          }
          expect(probabilities.min().item()).toBeGreaterThanOrEqual(0);
          expect(probabilities.sum([3]).sub(1).abs().max().item()).toBeLessThan(1e-5);
        }
      }),
    );
  });

  it('keeps its names and its answers through a file', () => {
    const state = backbone.stateDict();
    expect([...build().stateDict().keys()]).toEqual([...state.keys()]);
    for (const name of state.keys()) expect(name).toMatch(/^[a-z0-9_]+(\.[a-z0-9_]+)*$/);
    const file = join(folder, title.replace(/\W+/g, '-'));
    const files = [`${file}.pth`, `${file}.safetensors`];
    writePth(files[0], new Map([['teacher', toStateDict(state, 'module.')]]));
    writeSafetensors(files[1], state);
    backbone.eval();
    noGrad(() =>
      scope(() => {
        const x = pictures(64, 64);
        const { pooled } = backbone.forwardFeatures(x);
        for (const file of files) {
          const other = build().eval();
          expect(distance(other.forwardFeatures(x).pooled, pooled)).toBeGreaterThan(0);
          const report = loadWeights(other, backboneState(readWeights(file).state), file);
          const none = { missing: [], unexpected: [], mismatched: [], resized: [] };
          expect(report).toEqual({ used: state.size, ...none });
          expect(distance(other.forwardFeatures(x).pooled, pooled)).toBe(0);
        }
      }),
    );
  });

  it('leaves no tensors behind', () => {
    backbone.eval();
    const look = () =>
      noGrad(() =>
        scope(() => {
          const x = pictures(64, 64);
          backbone.forwardFeatures(x);
          backbone.blockFeatures(x, 2, { avgpoolPatchTokens: true });
          backbone.attentionMaps(x);
        }),
      );
    look(); // masks and indices are made once
    const before = liveTensors();
    look();
    expect(liveTensors()).toBe(before);
  });

  it('describes a picture of one row of pixels, or says that it is smaller than a patch', () => {
    const look = () => noGrad(() => scope(() => allFinite(backbone.forwardFeatures(pictures(1, 64)).pooled)));
    try {
      expect(look()).toBe(true);
    } catch (error) {
      expect(String(error)).toMatch(/1x64 pixels is smaller than one patch of \d+x\d+/);
    }
  });
});

function withoutDropout({ spec }: BackboneRequest): Partial<BackboneRequest> {
  const rates = Object.keys(spec ?? {}).filter((name) => /^(?:ATTN_)?DROP(?:_RATE)?$/.test(name));
  if (rates.length === 0) return {};
  return { spec: { ...spec, ...Object.fromEntries(rates.map((name) => [name, 0])) } };
}

function allFinite(x: Tensor): boolean {
  return scope(() => x.isfinite().allAll().item()) === 1;
}

function distance(a: Tensor, b: Tensor): number {
  return scope(() => a.sub(b).abs().max().item());
}
