/** The registry's names: published sizes, full-size networks, and requests that cannot be met. */

import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { type Backbone, type BackboneRequest, backboneNames, buildBackbone } from '../../src/models/index.js';
import { withoutInitialisation } from '../../src/nn/index.js';
import { noGrad, randn, scope, setThreads } from '../../src/torch/index.js';

setThreads(1);

const count = (backbone: Backbone) => backbone.parameters().reduce((sum, { numel }) => sum + numel, 0);
const fullSize = (arch: string) => withoutInitialisation(() => buildBackbone({ arch }));

/** The numbers of the original's networks; the paper rounds them. */
const PUBLISHED: Readonly<Record<string, number>> = {
  swin_tiny: 27_519_354,
  swin_small: 48_837_258,
  swin_base: 86_743_224,
  swin_large: 194_995_476,
  cvt_tiny: 29_303_616,
  vil_1281: 23_866_752,
  vil_2262: 27_569_352,
  deit_tiny: 5_524_416,
  deit_small: 21_665_664,
  vit_base: 85_798_656,
  resnet18: 11_176_512,
  resnet34: 21_284_672,
  resnet50: 23_508_032,
  resnet101: 42_500_160,
  resnet152: 58_143_808,
};

it.each(Object.entries(PUBLISHED))('%s has as many parameters as published: %d', (arch, published) => {
  expect(count(fullSize(arch))).toBe(published);
});

describe('at full size', () => {
  // Networks of the same parameters are one network; weights are drawn cheaply, since only shapes matter here.
  const seen = new Set<string>();
  it.each(backboneNames.map((name) => [name]))('%s describes a picture', (arch) => {
    const backbone = fullSize(arch);
    const key = [...backbone.stateDict()].map(([name, { shape }]) => `${name} ${shape}`).join();
    if (seen.has(key)) return;
    seen.add(key);
    noGrad(() =>
      scope(() => {
        for (const [name, value] of backbone.namedParameters())
          if (/norm|bn|downsample\.1/.test(name)) value.fill_(1);
          else value.uniform_(-0.03, 0.03);
        const { pooled, tokens, grid } = backbone.eval().forwardFeatures(randn([1, 3, 64, 64]));
        expect(pooled.shape).toEqual([1, backbone.featureDim]);
        expect(tokens.shape).toEqual([1, grid[0] * grid[1], backbone.featureDim]);
        expect(pooled.isfinite().allAll().item()).toBe(1);
      }),
    );
  });
});

describe('requests that cannot be met', () => {
  it.each<[string, BackboneRequest, RegExp]>([
    ['an unknown name', { arch: 'swin_tinny' }, /unknown architecture 'swin_tinny'.*'swin_tiny'.*Known are/],
    [
      'an unknown field',
      { arch: 'swin', spec: { WINDOWSIZE: 7 } },
      /WINDOWSIZE: swin has no such field.*WINDOW_SIZE/,
    ],
    [
      'an unknown field of CvT',
      { arch: 'cvt_tiny', spec: { DEPTHS: [1] } },
      /DEPTHS: cvt_tiny has no such.*'DEPTH'/,
    ],
    [
      'an unknown field of ViL',
      { arch: 'vil', spec: { MSVIT: { ARK: 'l1' } } },
      /MODEL\.SPEC\.MSVIT\.ARK: vil has no such field.*'ARCH'/,
    ],
    [
      'an unknown field of a ViT',
      { arch: 'deit_tiny', spec: { HEADS: 3 } },
      /HEADS: deit_tiny has no such field/,
    ],
    ['an unknown field of a ResNet', { arch: 'resnet50', spec: { WIDHT: 3 } }, /WIDHT: .*'WIDTH'/],
    ['heads that do not divide', { arch: 'swin', spec: { DIM_EMBED: 100 } }, /NUM_HEADS.*100 wide/],
    [
      'too few heads',
      { arch: 'swin', spec: { NUM_HEADS: [3] } },
      /NUM_HEADS.*expected 4 numbers.*received 1/,
    ],
    [
      'heads of a CvT',
      { arch: 'cvt', spec: { NUM_HEADS: [1, 5, 6, 12] } },
      /NUM_HEADS\.1 .*stage 2 is 192 wide, which 5/,
    ],
    [
      'too few stages',
      { arch: 'cvt', spec: { SHIFT: [true] } },
      /SPEC\.SHIFT .*expected 4 values, one for each stage/,
    ],
    [
      'a map that shrinks',
      { arch: 'cvt', spec: { PADDING_QKV: [1, 1, 0, 1] } },
      /PADDING_QKV\.2 .*stage 3 .*padding of 1, not 0/,
    ],
    [
      'heads of a ViT',
      { arch: 'vit_base', spec: { NUM_HEADS: 7 } },
      /NUM_HEADS of vit_base: 7 heads do not divide/,
    ],
    [
      'a block that is none',
      { arch: 'resnet50', spec: { BLOCK: 'wide' } },
      /BLOCK of resnet50.*basic, bottleneck/,
    ],
    [
      'a text for a number',
      { arch: 'swin', spec: { DIM_EMBED: '96' } },
      /MODEL\.SPEC\.DIM_EMBED of swin.*number/,
    ],
    [
      'a rate above 1',
      { arch: 'swin', spec: { DROP_PATH_RATE: 1.5 } },
      /MODEL\.SPEC\.DROP_PATH_RATE.*at most 1/,
    ],
  ])('%s', (_, request, message) => {
    expect(() => buildBackbone(request)).toThrow(UserError);
    expect(() => buildBackbone(request)).toThrow(message);
  });

  it('a name that every object has', () => {
    expect(() => buildBackbone({ arch: 'constructor' })).toThrow(/unknown architecture/);
  });
});
