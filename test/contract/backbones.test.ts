/** What every backbone of the registry must do, asked of each in the same words. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { type Backbone, type BackboneRequest, backboneNames, buildBackbone } from '../../src/models/index.js';
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

setThreads(1);

const folder = mkdtempSync(join(tmpdir(), 'esvit-contract-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Example {
  /** small enough to be quick; depths, heads and windows are the name's own where that is possible */
  request: Omit<BackboneRequest, 'arch'>;
  /** width and patch size of the first stage */
  dim: number;
  patch: number;
  /** whether each stage is twice as wide as the one before, on half the grid */
  stages: boolean;
}

const shrunken = (dim: number): Example => ({
  request: { spec: { DIM_EMBED: dim } },
  dim,
  patch: 4,
  stages: true,
});

const vit = (dim: number, patch: number): Example => ({
  request: { imgSize: 64, patchSize: patch },
  dim,
  patch,
  stages: false,
});

const EXAMPLES: Readonly<Record<string, Example>> = {
  swin_tiny: shrunken(12),
  swin_small: shrunken(6),
  swin_base: shrunken(8),
  swin_large: shrunken(12),
  swin: {
    request: {
      spec: { DIM_EMBED: 8, DEPTHS: [1, 2], NUM_HEADS: [2, 4], PATCH_SIZE: 2, WINDOW_SIZE: 3 },
      imgSize: 32,
    },
    dim: 8,
    patch: 2,
    stages: true,
  },
  // everything that is off by default
  swin_transformer: {
    request: {
      spec: {
        DIM_EMBED: 8,
        DEPTHS: [2, 1, 1],
        NUM_HEADS: [1, 2, 4],
        WINDOW_SIZE: 4,
        USE_APE: true,
        PATCH_NORM: false,
        QKV_BIAS: false,
        MLP_RATIO: 2.5,
        DROP_RATE: 0.1,
        ATTN_DROP_RATE: 0.1,
      },
      imgSize: 64,
    },
    dim: 8,
    patch: 4,
    stages: true,
  },
  deit_tiny: vit(192, 16),
};

/** Wider ones of the same kind, too large to be trained here; their parameters are counted below. */
const WIDER = ['deit_small', 'vit_base'];

/** Square, not square, odd; none needs to be a multiple of anything. */
const SIZES = [
  [64, 64],
  [96, 48],
  [71, 53],
  [37, 90],
] as const;

const BATCH = 2;

it('every name of the registry has an example', () => {
  expect([...Object.keys(EXAMPLES), ...WIDER].sort()).toEqual([...backboneNames].sort());
});

describe.each(Object.entries(EXAMPLES))('%s', (arch, { request, dim, patch, stages }) => {
  let backbone: Backbone;
  /** the width of each block */
  let widths: number[];

  const pictures = (height: number, width: number, batch = BATCH) => randn([batch, 3, height, width]);
  const build = (more: Partial<BackboneRequest> = {}) => buildBackbone({ arch, ...request, ...more });

  beforeAll(() => {
    manualSeed(0);
    backbone = build();
    widths = backbone.depths.flatMap((depth, stage) => Array(depth).fill(stages ? dim * 2 ** stage : dim));
  });

  it('is as wide as it says', () => {
    expect(backbone.featureDim).toBe(widths[widths.length - 1]);
  });

  it.each(SIZES)('describes pictures of %d x %d, training and not', (height, width) => {
    const grid = (stage: number) => {
      const halve = (size: number) =>
        Array.from({ length: stage }).reduce<number>((left) => Math.ceil(left / 2), Math.floor(size / patch));
      return [halve(height), halve(width)];
    };
    const last = grid(stages ? backbone.depths.length - 1 : 0);
    for (const mode of [true, false])
      noGrad(() =>
        scope(() => {
          backbone.train(mode);
          const { pooled, tokens, grid: found } = backbone.forwardFeatures(pictures(height, width));
          expect(found).toEqual(last);
          expect(pooled.shape).toEqual([BATCH, backbone.featureDim]);
          expect(tokens.shape).toEqual([BATCH, last[0] * last[1], backbone.featureDim]);
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
          expect(distance(one.pooled, both.pooled.narrow(0, i, 1))).toBeLessThan(1e-5);
          expect(distance(one.tokens, both.tokens.narrow(0, i, 1))).toBeLessThan(1e-5);
        }
      }),
    );
  });

  it('draws its drop paths when training, unless there are none', () => {
    const steady = build({ dropPathRate: 0, ...withoutDropout(request) });
    const shaky = build({ dropPathRate: 0.5, ...withoutDropout(request) });
    noGrad(() =>
      scope(() => {
        const x = pictures(64, 64);
        for (const network of [steady, shaky]) {
          const quiet = network.eval().forwardFeatures(x).pooled;
          const first = network.train().forwardFeatures(x).pooled;
          const second = network.forwardFeatures(x).pooled;
          expect(distance(first, second) > 1e-4).toBe(network === shaky);
          expect(distance(first, quiet) > 1e-4).toBe(network === shaky);
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

  it('gives the features of its last blocks, as wide as these', () => {
    backbone.eval();
    noGrad(() =>
      scope(() => {
        const x = pictures(64, 64);
        for (const count of [1, 2, widths.length]) {
          const features = backbone.blockFeatures(x, count);
          const expected = widths.slice(-count).reduce((sum, width) => sum + width, 0);
          expect(features.shape).toEqual([BATCH, expected]);
          expect(allFinite(features)).toBe(true);
        }
        const { pooled, tokens } = backbone.forwardFeatures(x);
        expect(distance(backbone.blockFeatures(x, 1), pooled)).toBeLessThan(1e-5);
        // with a class token the mean of the regions says more; without it is what is pooled anyway
        const more = backbone.blockFeatures(x, 1, { avgpoolPatchTokens: true });
        expect(more.shape[1]).toBe(stages ? backbone.featureDim : 2 * backbone.featureDim);
        const tail = more.narrow(1, more.shape[1] - backbone.featureDim, backbone.featureDim);
        expect(distance(tail, tokens.mean([1]))).toBeLessThan(1e-5);
      }),
    );
  });

  it('shows the attention of every block: each row sums to 1', () => {
    backbone.eval();
    noGrad(() =>
      scope(() => {
        const maps = backbone.attentionMaps(pictures(71, 53));
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
    const files = [join(folder, `${arch}.pth`), join(folder, `${arch}.safetensors`)];
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
          expect(report).toEqual({ used: state.size, missing: [], unexpected: [], mismatched: [] });
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
    look(); // shift masks are made once
    const before = liveTensors();
    look();
    expect(liveTensors()).toBe(before);
  });

  it('refuses pictures without a single patch', () => {
    expect(() => noGrad(() => backbone.forwardFeatures(pictures(patch - 1, 64)))).toThrow(
      new RegExp(`${patch - 1}x64 pixels is smaller than one patch of ${patch}x${patch}`),
    );
  });
});

describe('parameters are as many as published', () => {
  const count = (backbone: Backbone) => backbone.parameters().reduce((sum, { numel }) => sum + numel, 0);

  it.each([
    ['deit_tiny', 5_524_416],
    ['deit_small', 21_665_664],
    ['vit_base', 85_798_656],
  ])('%s: %d', (arch, published) => {
    expect(count(buildBackbone({ arch }))).toBe(published);
  });

  // The number is a polynomial of degree 2 in the width: three narrow networks tell that of the wide one.
  it.each([
    ['swin_tiny', 96, 3, 27_519_354],
    ['swin_small', 96, 3, 48_837_258],
    ['swin_base', 128, 4, 86_743_224],
    ['swin_large', 192, 6, 194_995_476],
  ])('%s, %d wide, from networks of a width of %d and more: %d', (arch, width, step, published) => {
    const [a, b, c] = [1, 2, 3].map((times) =>
      count(buildBackbone({ arch, spec: { DIM_EMBED: times * step } })),
    );
    const t = width / step;
    const extrapolated = (a * (t - 2) * (t - 3)) / 2 - b * (t - 1) * (t - 3) + (c * (t - 1) * (t - 2)) / 2;
    expect(extrapolated).toBe(published);
  });
});

describe('requests that cannot be met', () => {
  it.each<[string, BackboneRequest, RegExp]>([
    ['an unknown name', { arch: 'swin_tinny' }, /unknown architecture 'swin_tinny'.*'swin_tiny'.*Known are/],
    ['a spec for a plain transformer', { arch: 'deit_tiny', spec: {} }, /deit_tiny takes no MODEL\.SPEC/],
    ['an unknown field', { arch: 'swin', spec: { WINDOWSIZE: 7 } }, /WINDOWSIZE: swin has no such field/],
    ['heads that do not divide', { arch: 'swin', spec: { DIM_EMBED: 100 } }, /NUM_HEADS.*100 wide/],
    [
      'too few heads',
      { arch: 'swin', spec: { NUM_HEADS: [3] } },
      /NUM_HEADS.*expected 4 numbers.*received 1/,
    ],
    ['a text for a number', { arch: 'swin', spec: { DIM_EMBED: '96' } }, /MODEL\.SPEC\.DIM_EMBED of swin/],
    ['a rate above 1', { arch: 'swin', spec: { DROP_PATH_RATE: 1.5 } }, /MODEL\.SPEC\.DROP_PATH_RATE/],
  ])('%s', (_, request, message) => {
    expect(() => buildBackbone(request)).toThrow(UserError);
    expect(() => buildBackbone(request)).toThrow(message);
  });

  it('a name that every object has', () => {
    expect(() => buildBackbone({ arch: 'constructor' })).toThrow(/unknown architecture/);
  });
});

function withoutDropout({ spec }: Omit<BackboneRequest, 'arch'>): Partial<BackboneRequest> {
  return spec === undefined ? {} : { spec: { ...spec, DROP_RATE: 0, ATTN_DROP_RATE: 0 } };
}

function allFinite(x: Tensor): boolean {
  return scope(() => x.isfinite().allAll().item()) === 1;
}

function distance(a: Tensor, b: Tensor): number {
  return scope(() => a.sub(b).abs().max().item());
}
