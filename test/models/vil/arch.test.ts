/** The ARCH mini-language: what it says, and what it says of mistakes. */

import { describe, expect, it } from 'vitest';
import { buildBackbone } from '../../../src/models/index.js';
import { parseArch } from '../../../src/models/vil/arch.js';
import { withoutInitialisation } from '../../../src/nn/index.js';
import { loadExperiment } from '../../../src/train/index.js';

const TAIL = '_l2,d96_l3';

describe('ARCH', () => {
  it('says every field of every stage', () => {
    const [first, , , last] = parseArch('l1,h2,d64,n3,s0,g2,p4,f5,a0,r1_l2_l3_l4,h12,d768,n1,s0,g0,p2,f7');
    expect(first).toEqual({
      numHeads: 2,
      dim: 64,
      depth: 3,
      sparse: false,
      globals: 2,
      patchSize: 4,
      features: 5,
      absolutePositions: false,
      pooled: true,
    });
    expect(last).toMatchObject({
      numHeads: 12,
      dim: 768,
      globals: 0,
      absolutePositions: true,
      pooled: false,
    });
  });

  it('has the defaults of the original, in any order of fields', () => {
    const [first, second] = parseArch('d96,l1_l2_l3');
    expect(second).toEqual({
      numHeads: 3,
      dim: 192,
      depth: 1,
      sparse: true,
      globals: 1,
      patchSize: 2,
      features: 7,
      absolutePositions: true,
      pooled: false,
    });
    expect(first).toEqual({ ...second, dim: 96 });
  });

  it.each([
    ['l1', /expected 3 or 4 stages .* received 1/],
    ['l1_l2_l3_l4_l5', /received 5/],
    ['l1_l2__l4', /stage 3 \(''\): '' is no field; the fields are l \(number of the stage\), h \(heads\)/],
    ['l1_l2,x3_l3', /stage 2 \('l2,x3'\): 'x3' is no field/],
    ['l1_l2,h_l3', /stage 2 .*: h \(heads\) needs a whole number, received ''/],
    ['l1,d-96_l2_l3', /stage 1 .*: d \(width\) needs a whole number, received '-96'/],
    ['l1_l2_l3,n1.5', /stage 3 .*: n \(blocks\) needs a whole number, received '1\.5'/],
    ['l1, h3_l2_l3', /stage 1 .*: ' h3' is no field/],
    ['l1,h3,h3_l2_l3', /stage 1 .*: h \(heads\) is given twice/],
    ['l1_l3_l2', /stage 2 .*: l \(number of the stage\) must be 2, received 3/],
    ['l1_d96_l3', /stage 2 .*: l \(number of the stage\) must be 2, received 1/],
    [`l1,h5,d96${TAIL}`, /stage 1 .*: h \(heads\): 5 do not divide the width, d96/],
    [`l1,h1,d7${TAIL}`, /stage 1 .*: d \(width\) must be even .* received 7/],
    [`l1,n0${TAIL}`, /stage 1 .*: n \(blocks\) must be at least 1, received 0/],
    [`l1,s2${TAIL}`, /stage 1 .*: s \(sparse attention\) must be 0 or 1, received 2/],
  ])('names stage and field of the mistake in %s', (arch, message) => {
    expect(() => parseArch(arch)).toThrow(message);
    expect(() => buildBackbone({ arch: 'vil', spec: { MSVIT: { ARCH: arch } } })).toThrow(
      /^MODEL\.SPEC\.MSVIT\.ARCH of vil: .*\.$/,
    );
  });

  it('needs pictures that leave every stage a token', () => {
    const arch = 'l1,h1,d8,p4_l2,h1,d8,p4_l3,h1,d8,p4';
    const build = (imgSize: number) =>
      buildBackbone({ arch: 'vil', spec: { MSVIT: { ARCH: arch } }, imgSize });
    expect(() => build(63)).toThrow(/stage 3: pictures of 63 pixels .* patches of 4, 4, 4 .*at least 64/);
    expect(build(64).depths).toEqual([1, 1, 1]);
  });
});

describe('fields of a spec that do not fit together', () => {
  const build = (own: object) => () =>
    withoutInitialisation(() => buildBackbone({ arch: 'vil', spec: { MSVIT: own } }));
  it.each<[object, RegExp]>([
    [
      { ARCH: 'l1_l2,g0_l3', ONLY_GLOBAL: true },
      /MSVIT\.ONLY_GLOBAL of vil: stage 2 of ARCH has no global tokens/,
    ],
    [
      { ARCH: 'l1_l2_l3,r1' },
      /MSVIT\.POOL_METHOD of vil: stage 3 of ARCH pools its keys \(r1\): expected 'mean'/,
    ],
    [{ ARCH: 'l1,h1,d8_l2_l3', WITH_SE: 'SE' }, /MSVIT\.SE_MLP_RATIO of vil: stage 1 of ARCH is 8 wide/],
    [{ ATTN_TYPE: 'longformer' }, /MSVIT\.ATTN_TYPE of vil.*longformerhand/],
    [{ MODE: 9 }, /MSVIT\.MODE of vil/],
    [{ ARCH: 3 }, /MSVIT\.ARCH of vil/],
  ])('%o', (own, message) => {
    expect(build(own)).toThrow(message);
  });
});

describe('the recipes', () => {
  it.each([
    ['vil', [2, 2, 6, 2], 27_569_352],
    ['vil_2262', [2, 2, 6, 2], 27_569_352],
    ['vil_1281', [1, 2, 8, 1], 23_866_752],
    ['vil_14121', [1, 4, 12, 1], 31_854_336],
  ])('%s builds', (name, depths, parameters) => {
    const { MODEL: model } = loadExperiment(`configs/vil/${name}.yaml`).value;
    const spec = structuredClone(model?.SPEC) as Record<string, unknown>;
    const backbone = withoutInitialisation(() => buildBackbone({ arch: model?.NAME ?? '', spec }));
    expect(backbone.depths).toEqual(depths);
    expect(backbone.parameters().reduce((sum, { numel }) => sum + numel, 0)).toBe(parameters);
  });
});
