/** Heads, the forward pass over crops of several sizes, and the teacher that follows the student. */

import { describe, expect, it } from 'vitest';
import { BatchNorm } from '../../src/nn/index.js';
import { DinoHead, type HeadOptions, moveTeacher, startTeacher } from '../../src/ssl/index.js';
import { cat, liveTensors, manualSeed, noGrad, randn, scope, type Tensor } from '../../src/torch/index.js';
import { MICRO_DIM, microNetwork } from './micro.js';

const distance = (a: Tensor, b: Tensor) => scope(() => a.sub(b).abs().max().item());
const numbers = (x: Tensor) => Array.from(x.toArray(), Number);

describe('DinoHead', () => {
  const options: HeadOptions = {
    inDim: 6,
    outDim: 5,
    useBn: false,
    normLastLayer: true,
    nlayers: 3,
    hiddenDim: 8,
    bottleneckDim: 4,
  };

  it.each<[string, Partial<HeadOptions>, string[]]>([
    ['three layers', {}, ['mlp.0', 'mlp.2', 'mlp.4']],
    ['two layers', { nlayers: 2 }, ['mlp.0', 'mlp.2']],
    ['one layer', { nlayers: 1 }, ['mlp']],
    ['batch norms', { useBn: true }, ['mlp.0', 'mlp.1', 'mlp.3', 'mlp.4', 'mlp.6']],
  ])('of %s has the official names', (_, more, layers) => {
    const head = new DinoHead({ ...options, ...more });
    const found = [...head.stateDict().keys()].filter((name) => name.endsWith('.weight'));
    expect(found).toEqual(layers.map((layer) => `${layer}.weight`));
    const last = [...head.stateDict().keys()].filter((name) => name.startsWith('last_layer'));
    expect(last).toEqual(['last_layer.weight_g', 'last_layer.weight_v']);
    expect(noGrad(() => head.forward(randn([3, 6]))).shape).toEqual([3, 5]);
  });

  it('trains the gains of its last layer only where they are not fixed', () => {
    for (const normLastLayer of [true, false])
      expect(new DinoHead({ ...options, normLastLayer }).lastLayer.weightG.requiresGrad).toBe(!normLastLayer);
  });

  it('says cosines while its gains are 1, whatever the length of its input', () => {
    manualSeed(1);
    const head = new DinoHead(options);
    noGrad(() =>
      scope(() => {
        expect(
          head
            .forward(randn([50, 6]).mul(1000))
            .abs()
            .max()
            .item(),
        ).toBeLessThanOrEqual(1 + 1e-6);
        expect(numbers(head.forward(randn([1, 6]).mul(0))).every(Number.isFinite)).toBe(true);
      }),
    );
  });
});

describe('MultiCropNetwork', () => {
  it('has the official names: the bare backbone, then its heads', () => {
    const names = [...microNetwork().stateDict().keys()];
    expect(names[0]).toBe('patch_embed.proj.weight');
    expect(names.slice(-12)).toEqual(
      ['head', 'head_dense'].flatMap((head) =>
        [
          'mlp.0.weight',
          'mlp.0.bias',
          'mlp.2.weight',
          'mlp.2.bias',
          'last_layer.weight_g',
          'last_layer.weight_v',
        ].map((name) => `${head}.${name}`),
      ),
    );
    expect(names.some((name) => name.startsWith('backbone'))).toBe(false);
    expect([...microNetwork({ dense: false }).stateDict().keys()].some((name) => /dense/.test(name))).toBe(
      false,
    );
  });

  it.each([true, false])('says of all crops what it says of each, training: %s', (training) => {
    manualSeed(2);
    const network = microNetwork().train(training);
    const batch = 3;
    const sizes = [
      [16, 16],
      [16, 16],
      [8, 8],
      [8, 8],
      [12, 12],
    ];
    noGrad(() =>
      scope(() => {
        const crops = sizes.map(([h, w]) => randn([batch, 3, h, w]));
        const groups = [cat(crops.slice(0, 2)), cat(crops.slice(2, 4)), crops[4]];
        const all = network.forward(groups, batch);
        expect(all.groups).toEqual([
          { views: 2, regions: 4 },
          { views: 2, regions: 1 },
          { views: 1, regions: 4 },
        ]);
        expect(all.dense?.region.shape).toEqual([batch * (2 * 4 + 2 + 4), 12]);
        expect(all.dense?.features.shape).toEqual([batch * (2 * 4 + 2 + 4), 2 * MICRO_DIM]);
        const each = crops.map((crop) => network.forward([crop], batch));
        expect(distance(all.cls, cat(each.map(({ cls }) => cls)))).toBeLessThan(1e-6);
        expect(distance(all.pooled as Tensor, cat(each.map(({ pooled }) => pooled as Tensor)))).toBeLessThan(
          1e-6,
        );
        for (const part of ['region', 'features'] as const) {
          const joined = cat(each.map(({ dense }) => dense?.[part] as Tensor));
          expect(distance(all.dense?.[part] as Tensor, joined)).toBeLessThan(1e-6);
        }
      }),
    );
  });

  it('gives no regions without a head for them', () => {
    const { dense, cls } = noGrad(() => microNetwork({ dense: false }).forward([randn([2, 3, 16, 16])], 1));
    expect(dense).toBeUndefined();
    expect(cls.shape).toEqual([2, 12]);
  });

  it('regions follow crop by crop, picture by picture, row by row', () => {
    manualSeed(3);
    const network = microNetwork().eval();
    noGrad(() =>
      scope(() => {
        const crops = randn([4, 3, 16, 16]); // two views of two pictures
        const { dense } = network.forward([crops], 2);
        const { tokens } = network.backbone.forwardFeatures(crops.narrow(0, 3, 1)); // view 1, picture 1
        expect(distance(dense?.features.narrow(0, 12, 4) as Tensor, tokens.squeeze(0))).toBeLessThan(1e-6);
      }),
    );
  });

  it('leaves no tensors behind', () => {
    const network = microNetwork();
    const crops = [randn([2, 3, 16, 16]), randn([2, 3, 8, 8])];
    const look = () =>
      noGrad(() =>
        scope(() => {
          network.forward(crops, 1);
        }),
      );
    look(); // shift masks are made once
    const before = liveTensors();
    look();
    expect(liveTensors()).toBe(before);
  });
});

describe('the teacher', () => {
  const pair = () => {
    manualSeed(4);
    return { student: microNetwork({ useBn: true }), teacher: microNetwork({ useBn: true }) };
  };

  it('starts as the student, and is not trained', () => {
    const { student, teacher } = pair();
    startTeacher(teacher, student);
    for (const [name, value] of student.stateDict())
      expect(numbers(teacher.stateDict().get(name) as Tensor)).toEqual(numbers(value));
    expect(teacher.parameters().some(({ requiresGrad }) => requiresGrad)).toBe(false);
    expect(student.parameters().every(({ requiresGrad }) => requiresGrad)).toBe(true);
    // a copy
    noGrad(() => student.parameters()[0].add_(1));
    expect(distance(student.parameters()[0], teacher.parameters()[0])).toBeGreaterThan(0.9);
  });

  it('moves by momentum, parameter by parameter', () => {
    const { student, teacher } = pair();
    const before = teacher.parameters().map(numbers);
    const own = student.parameters().map(numbers);
    moveTeacher(teacher, student, 0.75);
    for (const [i, parameter] of teacher.parameters().entries())
      for (const [j, value] of numbers(parameter).entries())
        expect(value).toBeCloseTo(0.75 * before[i][j] + 0.25 * own[i][j], 6);
    expect(student.parameters().map(numbers)).toEqual(own);
  });

  it('with a momentum of 1 stays, of 0 is the student', () => {
    const { student, teacher } = pair();
    const before = teacher.parameters().map(numbers);
    moveTeacher(teacher, student, 1);
    expect(teacher.parameters().map(numbers)).toEqual(before);
    moveTeacher(teacher, student, 0);
    expect(teacher.parameters().map(numbers)).toEqual(student.parameters().map(numbers));
  });

  it('keeps statistics of its own', () => {
    const { student, teacher } = pair();
    noGrad(() => {
      for (const buffer of student.namedBuffers().values()) if (buffer.dtype === 'float32') buffer.fill_(5);
    });
    moveTeacher(teacher, student, 0.5);
    const norms = [...teacher.modules()].flatMap(([, module]) => (module instanceof BatchNorm ? module : []));
    expect(norms.length).toBeGreaterThan(0);
    for (const { runningMean } of norms) expect(new Set(numbers(runningMean))).toEqual(new Set([0]));
  });
});
