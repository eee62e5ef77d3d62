/** From files of any origin to the weights of a module: where they lie, what they are called, what fits. */

import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { Linear, Module } from '../../src/nn/index.js';
import { full, type Tensor, tensor, zeros } from '../../src/torch/index.js';
import {
  backboneState,
  loadWeights,
  Namespace,
  OrderedDict,
  type PyValue,
  readWeights,
  stateDictOf,
  TorchParameter,
  toStateDict,
  writePth,
  writeSafetensors,
} from '../../src/weights/index.js';
import { temporaryFolder } from './folder.js';

const at = temporaryFolder();

const one = (value: number) => new OrderedDict([['w', tensor([value])]]);
const weightOf = ({ state }: { state: ReadonlyMap<string, Tensor> }) => state.get('w')?.item();

function saved(value: PyValue, name = 'weights.pth'): string {
  writePth(at(name), value);
  return at(name);
}

describe('readWeights', () => {
  it('takes a file that is a state dict itself', () => {
    const { state, key } = readWeights(saved(one(3)));
    expect([weightOf({ state }), key]).toEqual([3, null]);
  });

  it('prefers the teacher, then the student, then what others write', () => {
    const parts: [string, number][] = [
      ['teacher', 1],
      ['student', 2],
      ['state_dict', 3],
      ['model', 4],
    ];
    for (let first = 0; first < parts.length; first++) {
      // in another order than wanted
      const left = parts.slice(first).reverse();
      const file = new Map<PyValue, PyValue>([['epoch', 5], ...left.map(([k, v]) => [k, one(v)] as const)]);
      const found = readWeights(saved(file));
      expect([weightOf(found), found.key]).toEqual([parts[first][1], parts[first][0]]);
    }
  });

  it('takes the part that is named', () => {
    const file = new Map<PyValue, PyValue>([
      ['teacher', one(1)],
      ['ema', one(2)],
    ]);
    expect(weightOf(readWeights(saved(file), 'ema'))).toBe(2);
  });

  it('looks into a Namespace, and takes parameters for their tensors', () => {
    const space = new Namespace();
    space.entries.set('model', new Map([['w', new TorchParameter(tensor([7]), true)]]));
    expect(weightOf(readWeights(saved(space)))).toBe(7);
  });

  it('reads safetensors by their ending', () => {
    writeSafetensors(at('w.safetensors'), new Map([['w', tensor([9])]]));
    const { state, key } = readWeights(at('w.safetensors'));
    expect([weightOf({ state }), key]).toEqual([9, null]);
  });

  it('takes one network out of a flat table of two, the teacher first', () => {
    const flat = new Map([
      ['student.w', tensor([1])],
      ['teacher.w', tensor([2])],
    ]);
    writeSafetensors(at('flat.safetensors'), flat);
    const of = (key?: string) => readWeights(at('flat.safetensors'), key);
    expect([...of().state.keys(), of().key]).toEqual(['teacher.w', 'teacher']);
    expect([...of('student').state.keys()]).toEqual(['student.w']);
    expect(of('ema').state.size).toBe(2);
  });

  it('says what it tried and what is there where nothing fits', () => {
    const file = new Map<PyValue, PyValue>([
      ['optimizer', new Map([['lr', 1]])],
      ['network', one(1)],
    ]);
    const path = saved(file);
    expect(() => readWeights(path)).toThrow(UserError);
    expect(() => readWeights(path)).toThrow(
      /no weights under 'teacher', 'student', 'state_dict', 'model'; it holds optimizer, network.*--checkpoint_key/,
    );
    expect(() => readWeights(path, 'theacher')).toThrow(/under 'theacher'; it holds optimizer, network/);
    expect(() => readWeights(saved([1, 2]))).toThrow(/holds no dictionary/);
    expect(() => readWeights(saved(new Map()))).toThrow(/holds no dictionary/);
  });
});

describe('stateDictOf', () => {
  it('takes only names with tensors', () => {
    expect(stateDictOf(new Map([['w', tensor([1])]]))?.size).toBe(1);
    for (const other of [null, [], new Map(), new Map<PyValue, PyValue>([['w', 1]]), undefined])
      expect(stateDictOf(other)).toBeUndefined();
    expect(stateDictOf(new Map<PyValue, PyValue>([[1, tensor([1])]]))).toBeUndefined();
  });

  it('undoes toStateDict, prefix apart', () => {
    const dict = toStateDict(new Map([['a.weight', tensor([1])]]), 'module.');
    expect([...(stateDictOf(dict)?.keys() ?? [])]).toEqual(['module.a.weight']);
  });
});

describe('backboneState', () => {
  const names = (...given: string[]) => [
    ...backboneState(new Map(given.map((name) => [name, zeros([1])]))).keys(),
  ];

  it('leaves bare names as they are', () => {
    expect(names('patch_embed.proj.weight', 'norm.bias')).toEqual(['patch_embed.proj.weight', 'norm.bias']);
  });

  it('takes wrappers away, one inside the other', () => {
    for (const prefix of [
      'module.',
      'teacher.',
      'student.',
      'encoder.',
      'module.teacher.',
      'student.module.',
    ])
      expect(names(`${prefix}norm.bias`)).toEqual(['norm.bias']);
    // only in front
    expect(names('layers.module.weight')).toEqual(['layers.module.weight']);
  });

  it('takes them away from any backbone, as often as they stand there', () => {
    expect(
      names('module.backbone.backbone.conv1.weight', 'module.backbone.backbone.layer1.0.bn1.running_mean'),
    ).toEqual(['conv1.weight', 'layer1.0.bn1.running_mean']);
    expect(names('module.teacher.backbone.module.cls_token', 'module.teacher.head.mlp.0.bias')).toEqual([
      'cls_token',
    ]);
    expect(names('backbone_norm.weight', 'stage.backbone.weight')).toEqual([
      'backbone_norm.weight',
      'stage.backbone.weight',
    ]);
  });

  it('refuses to choose between two networks', () => {
    expect(() => names('teacher.norm.bias', 'student.norm.bias')).toThrow(/'norm.bias'.*--checkpoint_key/);
  });

  it('leaves heads out, of either form', () => {
    expect(names('norm.bias', 'head.mlp.0.weight', 'head_dense.last_layer.weight_g')).toEqual(['norm.bias']);
    expect(names('module.norm.bias', 'module.head.mlp.0.weight')).toEqual(['norm.bias']);
    expect(names('module.backbone.norm.bias', 'module.head.mlp.0.weight')).toEqual(['norm.bias']);
    expect(names('header.bias')).toEqual(['header.bias']);
  });
});

/** Four tensors. */
class Pair extends Module {
  readonly first = new Linear(2, 3);
  readonly second = new Linear(3, 1);
}

describe('loadWeights', () => {
  const state = (): Map<string, Tensor> =>
    new Map([...new Pair().stateDict()].map(([name, value]) => [name, full([...value.shape], 5)]));

  it('copies all, and reports that nothing is left', () => {
    const pair = new Pair();
    expect(loadWeights(pair, state(), 'file')).toEqual({
      used: 4,
      missing: [],
      unexpected: [],
      mismatched: [],
      resized: [],
    });
    expect([...pair.first.weight.toFloat32()]).toEqual(Array(6).fill(5));
    expect(pair.first.weight.requiresGrad).toBe(true);
  });

  it('converts other dtypes', () => {
    const wide = new Map([...state()].map(([name, value]) => [name, value.to({ dtype: 'float16' })]));
    const pair = new Pair();
    loadWeights(pair, wide, 'file');
    expect(pair.second.bias?.dtype).toBe('float32');
    expect(pair.second.bias?.item()).toBe(5);
  });

  it('names what is missing, foreign or of another shape, and takes the rest', () => {
    const some = state();
    some.delete('second.bias');
    some.set('second.weight', zeros([2, 3]));
    some.set('fc.weight', zeros([1]));
    const pair = new Pair();
    const before = [...pair.second.weight.toFloat32()];
    expect(loadWeights(pair, some, 'file')).toEqual({
      used: 2,
      missing: ['second.bias'],
      unexpected: ['fc.weight'],
      mismatched: ['second.weight [2, 3], expected [1, 3]'],
      resized: [],
    });
    expect([...pair.second.weight.toFloat32()]).toEqual(before);
    expect([...pair.first.weight.toFloat32()]).toEqual(Array(6).fill(5));
  });

  it('refuses less than half: such a network would be a random one', () => {
    const few = state();
    for (const name of ['first.weight', 'first.bias', 'second.bias']) few.delete(name);
    const pair = new Pair();
    const before = [...pair.second.weight.toFloat32()];
    expect(() => loadWeights(pair, few, 'some.pth')).toThrow(UserError);
    expect(() => loadWeights(pair, few, 'some.pth')).toThrow(
      /some\.pth does not fit this network: 1 of 4 tensors match \(first\.weight \[3, 2\] is missing; first\.bias/,
    );
    expect([...pair.second.weight.toFloat32()]).toEqual(before);
    expect(() => loadWeights(pair, new Map(), 'some.pth')).toThrow(/0 of 4/);
  });

  it('shows a shape where shapes are what differs', () => {
    const wide = new Map([...state().keys()].map((name) => [name, zeros([7])]));
    expect(() => loadWeights(new Pair(), wide, 'some.pth')).toThrow(/first\.weight \[7\], expected \[3, 2\]/);
  });
});
