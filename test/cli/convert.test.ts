/** `esvit convert`: what goes through other worlds' names and formats comes back whole, and every name is documented. */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { convert } from '../../src/cli/convert.js';
import { buildBackbone } from '../../src/models/index.js';
import { arange, manualSeed, noGrad, type Tensor, zeros } from '../../src/torch/index.js';
import {
  OrderedDict,
  type PyValue,
  readPth,
  readTensors,
  readWeights,
  toStateDict,
  writePth,
  writeTensors,
} from '../../src/weights/index.js';
import { run } from './harness.js';

const folder = mkdtempSync(join(tmpdir(), 'esvit-convert-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

const SPEC = { DIM_EMBED: 12, DEPTHS: [2, 1, 3], NUM_HEADS: [1, 2, 3], WINDOW_SIZE: 2 };
const swin = (spec: object = {}) =>
  buildBackbone({ arch: 'swin', spec: { ...SPEC, ...spec }, imgSize: 32, dropPathRate: 0 });

let official: Map<string, Tensor>;

/** A training checkpoint as the original writes it: wrapped student, bare teacher, heads beside the backbone. */
beforeAll(() => {
  manualSeed(3);
  official = swin().stateDict();
  const heads = (value: number) =>
    new Map([
      ['head.mlp.0.weight', zeros([2, 36]).add(value)],
      ['head.last_layer.weight_g', zeros([4, 1]).add(value)],
      ['head_dense.mlp.0.weight', zeros([2, 36]).add(value)],
    ]);
  const student = new Map([...official].map(([name, tensor]) => [name, noGrad(() => tensor.clone())]));
  noGrad(() => student.get('norm.weight')?.mul_(2));
  const content = new Map<PyValue, PyValue>([
    ['student', toStateDict(new Map([...student, ...heads(1)]), 'module.')],
    ['teacher', toStateDict(new Map([...official, ...heads(2)]))],
    ['epoch', 3],
  ]);
  writePth(at('checkpoint.pth'), content);
});

async function converted(...argv: string[]): Promise<Record<string, unknown>> {
  const { code, out, err } = await run(convert, 'convert', '--json', ...argv);
  expect(code, err).toBe(0);
  return JSON.parse(out);
}

async function refusal(...argv: string[]): Promise<string> {
  const { code, err } = await run(convert, 'convert', ...argv);
  expect(code).toBeGreaterThan(0);
  return err;
}

/** Names, order, dtypes, shapes and every bit are the same. */
function expectSame(mine: ReadonlyMap<string, Tensor>, theirs: ReadonlyMap<string, Tensor>): void {
  expect([...mine.keys()]).toEqual([...theirs.keys()]);
  for (const [name, tensor] of mine) {
    const other = theirs.get(name) as Tensor;
    expect([tensor.dtype, tensor.shape], name).toEqual([other.dtype, other.shape]);
    expect(Buffer.compare(tensor.bytes(), other.bytes()), name).toBe(0);
  }
}

const stateOf = (path: string) => readWeights(path).state;

/**
 * Names and shapes of SwinModel, class by class as its documentation lists the modules, with nothing of ours
 * but its own configuration.
 */
function documentedLayout(config: Record<string, never>): Record<string, number[]> {
  const names: Record<string, number[]> = {};
  const linear = (name: string, rows: number, columns: number, bias = true) => {
    names[`${name}.weight`] = [rows, columns];
    if (bias) names[`${name}.bias`] = [rows];
  };
  const norm = (name: string, dim: number) => {
    names[`${name}.weight`] = [dim];
    names[`${name}.bias`] = [dim];
  };
  const { embed_dim, patch_size, num_channels, depths, num_heads, window_size, mlp_ratio, qkv_bias } =
    config as unknown as Record<string, number> & {
      depths: number[];
      num_heads: number[];
      qkv_bias: boolean;
    };
  names['embeddings.patch_embeddings.projection.weight'] = [embed_dim, num_channels, patch_size, patch_size];
  names['embeddings.patch_embeddings.projection.bias'] = [embed_dim];
  norm('embeddings.norm', embed_dim);
  for (const [stage, depth] of depths.entries()) {
    const dim = embed_dim * 2 ** stage;
    for (let i = 0; i < depth; i++) {
      const block = `encoder.layers.${stage}.blocks.${i}`;
      norm(`${block}.layernorm_before`, dim);
      for (const part of ['query', 'key', 'value'])
        linear(`${block}.attention.self.${part}`, dim, dim, qkv_bias);
      names[`${block}.attention.self.relative_position_bias_table`] = [
        (2 * window_size - 1) ** 2,
        num_heads[stage],
      ];
      names[`${block}.attention.self.relative_position_index`] = [window_size ** 2, window_size ** 2];
      linear(`${block}.attention.output.dense`, dim, dim);
      norm(`${block}.layernorm_after`, dim);
      linear(`${block}.intermediate.dense`, mlp_ratio * dim, dim);
      linear(`${block}.output.dense`, dim, mlp_ratio * dim);
    }
    if (stage < depths.length - 1) {
      linear(`encoder.layers.${stage}.downsample.reduction`, 2 * dim, 4 * dim, false);
      norm(`encoder.layers.${stage}.downsample.norm`, 4 * dim);
    }
  }
  norm('layernorm', embed_dim * 2 ** (depths.length - 1));
  return names;
}

describe("a folder of Hugging Face's SwinModel", () => {
  it('has the documented names, shapes and settings, and comes back bit for bit', async () => {
    const report = await converted(at('checkpoint.pth'), at('swin'));
    expect(report).toMatchObject({ key: 'teacher', from: 'official', to: 'huggingface' });
    expect(report.dropped).toEqual([
      'head.mlp.0.weight',
      'head.last_layer.weight_g',
      'head_dense.mlp.0.weight',
    ]);
    expect(readdirSync(at('swin')).sort()).toEqual([
      'config.json',
      'model.safetensors',
      'preprocessor_config.json',
    ]);
    const config = JSON.parse(readFileSync(at('swin/config.json'), 'utf8'));
    expect(config).toMatchObject({
      model_type: 'swin',
      architectures: ['SwinModel'],
      depths: SPEC.DEPTHS,
      num_heads: SPEC.NUM_HEADS,
      embed_dim: 12,
      window_size: 2,
      patch_size: 4,
      mlp_ratio: 4,
      hidden_size: 48,
      layer_norm_eps: 1e-6,
      qkv_bias: true,
      torch_dtype: 'float32',
    });
    const tensors = readTensors(at('swin/model.safetensors'));
    const shapes = Object.fromEntries([...tensors].map(([name, { shape }]) => [name, shape]));
    expect(shapes).toEqual(documentedLayout(config));
    const block = 'layers.1.blocks.0';
    for (const [i, part] of ['query', 'key', 'value'].entries())
      expect(
        tensors
          .get(`encoder.${block}.attention.self.${part}.weight`)
          ?.equal(official.get(`${block}.attn.qkv.weight`)?.narrow(0, 24 * i, 24) as Tensor),
      ).toBe(true);

    const back = await converted(at('swin'), at('back.pth'));
    expect(back).toMatchObject({ from: 'huggingface', to: 'official', dropped: [] });
    expectSame(stateOf(at('back.pth')), official);
    const again = swin().eval();
    again.loadStateDict(stateOf(at('back.pth')));
    const before = swin().eval();
    before.loadStateDict(official);
    const x = arange(0, 3 * 32 * 32, 1, { dtype: 'float32' })
      .view([1, 3, 32, 32])
      .div(3000);
    noGrad(() => expect(again.forwardFeatures(x).pooled.equal(before.forwardFeatures(x).pooled)).toBe(true));
  });

  it('that holds a whole classifier gives its backbone', async () => {
    mkdirSync(at('classifier'));
    const inside = [...readTensors(at('swin/model.safetensors'))];
    writePth(
      at('classifier/pytorch_model.bin'),
      new OrderedDict([
        ...inside.map(([name, tensor]): [string, Tensor] => [`swin.${name}`, tensor]),
        ['classifier.weight', zeros([5, 48])],
      ]),
    );
    writeFileSync(at('classifier/config.json'), readFileSync(at('swin/config.json')));
    expect((await converted(at('classifier'), at('taken.pth'))).dropped).toEqual(['classifier.weight']);
    expectSame(stateOf(at('taken.pth')), official);
  });

  it('is not made of what it cannot hold', async () => {
    // a last stage of 8 x 8 regions makes windows of 16 smaller there
    writeTensors(at('w4.pth'), swin({ WINDOW_SIZE: 4 }).stateDict());
    expect(await refusal(at('w4.pth'), at('w4'))).toContain('windows of 4, 4, 2, expected one size');
    writeTensors(at('ape.pth'), swin({ USE_APE: true }).stateDict());
    expect(await refusal(at('ape.pth'), at('ape'))).toContain('absolute positions');
    writeTensors(at('plain.pth'), swin({ PATCH_NORM: false }).stateDict());
    expect(await refusal(at('plain.pth'), at('plain'))).toContain('no norm after the patches');
    writeTensors(
      at('vit.pth'),
      new Map([
        ['cls_token', zeros([1])],
        ['blocks.0.attn.qkv.weight', zeros([3, 1])],
      ]),
    );
    expect(await refusal(at('vit.pth'), at('vit'))).toContain('expected a Swin Transformer');
    writeTensors(at('part.pth'), new Map([...official].filter(([name]) => name !== 'norm.bias')));
    expect(await refusal(at('part.pth'), at('part'))).toContain('norm.bias is missing');
    expect(
      readdirSync(folder).filter((name) => ['w4', 'ape', 'plain', 'vit', 'part'].includes(name)),
    ).toEqual([]);
  });

  it('is read only if it is one', async () => {
    mkdirSync(at('none'));
    expect(await refusal(at('none'), at('x.pth'))).toContain('without config.json');
    writeFileSync(at('none/config.json'), '{"model_type": "bert"}');
    expect(await refusal(at('none'), at('x.pth'))).toContain("model_type 'bert', expected 'swin'");
    writeFileSync(at('none/config.json'), '{"model_type": "swin"}');
    expect(await refusal(at('none'), at('x.pth'))).toContain('neither model.safetensors nor');
    writeFileSync(at('none/config.json'), '{');
    expect(await refusal(at('none'), at('x.pth'))).toContain('no JSON');
  });
});

describe("timm's names", () => {
  it('put a merging of patches into the next stage, leave indices out, and come back bit for bit', async () => {
    await converted(at('checkpoint.pth'), at('timm.safetensors'), '--names', 'timm');
    const names = [...readTensors(at('timm.safetensors')).keys()];
    expect(names.filter((name) => name.includes('downsample')).sort()).toEqual(
      [1, 2].flatMap((stage) =>
        ['norm.bias', 'norm.weight', 'reduction.weight'].map((part) => `layers.${stage}.downsample.${part}`),
      ),
    );
    expect(names.some((name) => name.includes('position_index'))).toBe(false);
    expect(names.length).toBe(official.size - 6);
    expect(await converted(at('timm.safetensors'), at('back.npz'))).toMatchObject({ from: 'timm' });
    expectSame(stateOf(at('back.npz')), official);
  });

  it('of its older versions and of classifiers are the original ones; masks and heads are left', async () => {
    const old = new Map([
      ...official,
      ['layers.0.blocks.1.attn_mask', zeros([4, 4, 4])],
      ['head.weight', zeros([5, 48])],
    ] as [string, Tensor][]);
    writePth(at('old.pth'), new Map<PyValue, PyValue>([['model', toStateDict(old)]]));
    const report = await converted(at('old.pth'), at('new.pth'));
    expect(report).toMatchObject({ key: 'model', dropped: ['head.weight', 'layers.0.blocks.1.attn_mask'] });
    expectSame(stateOf(at('new.pth')), official);
  });

  it('of residual and plain networks are their own, without prefixes', async () => {
    const resnet = new Map([
      ['module.backbone.backbone.conv1.weight', zeros([4, 3, 7, 7])],
      ['module.backbone.backbone.layer1.0.conv1.weight', zeros([4, 4, 1, 1])],
      ['module.head.mlp.0.weight', zeros([2, 4])],
    ]);
    writeTensors(at('resnet.pth'), resnet);
    await converted(at('resnet.pth'), at('resnet.safetensors'), '--names', 'timm');
    expect([...readTensors(at('resnet.safetensors')).keys()]).toEqual([
      'conv1.weight',
      'layer1.0.conv1.weight',
    ]);
    writeTensors(at('cvt.pth'), new Map([['stage0.patch_embed.proj.weight', zeros([1])]]));
    expect(await refusal(at('cvt.pth'), at('y.pth'), '--names', 'timm')).toContain('Use --names official');
  });
});

describe('formats', () => {
  it('hold the whole of a student, heads and all, and give it back', async () => {
    const all = ['--checkpoint_key', 'student', '--part', 'all'];
    await converted(at('checkpoint.pth'), at('student.safetensors'), ...all);
    await converted(at('student.safetensors'), at('student.npz'), '--part', 'all');
    await converted(at('student.npz'), at('student.pth'), '--part', 'all');
    const original = readPth(at('checkpoint.pth')) as Map<string, Map<string, Tensor>>;
    const student = [...(original.get('student') as Map<string, Tensor>)];
    const bare = new Map(student.map(([name, tensor]) => [name.replace('module.', ''), tensor]));
    const back = stateOf(at('student.pth'));
    expectSame(
      new Map([...back].sort(([a], [b]) => (a < b ? -1 : 1))),
      new Map([...bare].sort(([a], [b]) => (a < b ? -1 : 1))),
    );
  });

  it('keep what is one tensor one tensor', async () => {
    const shared = arange(0, 6, 1, { dtype: 'float32' });
    writeTensors(
      at('tied.pth'),
      new Map([
        ['attn.query.weight', shared],
        ['attn.query_global.weight', shared],
      ]),
    );
    await converted(at('tied.pth'), at('tied.safetensors'), '--dtype', 'bfloat16');
    await converted(at('tied.safetensors'), at('tied2.pth'));
    const [first, second] = stateOf(at('tied2.pth')).values();
    expect(second.storage.identity).toBe(first.storage.identity);
    expect(first.dtype).toBe('bfloat16');
  });

  it('change the precision of floats alone', async () => {
    await converted(at('checkpoint.pth'), at('half.safetensors'), '--dtype', 'float16');
    for (const [name, tensor] of readTensors(at('half.safetensors')))
      expect(tensor.dtype).toBe(name.endsWith('position_index') ? 'int64' : 'float16');
  });

  it('take no more memory than their tensors have', async () => {
    const flat = zeros([100_000]);
    writeTensors(
      at('flat.pth'),
      new Map([
        ['a', flat.narrow(0, 0, 10)],
        ['b', flat.narrow(0, 5, 10)],
        ['head.c', flat],
      ]),
    );
    await converted(at('flat.pth'), at('small.pth'));
    expect(readFileSync(at('small.pth')).length).toBeLessThan(2000);
  });
});

describe('what cannot be', () => {
  it.each<[string, string[], string]>([
    ['a file that is not there', ['nothing.pth', 'x.pth'], 'There is no'],
    ['writing over what is read', ['checkpoint.pth', 'checkpoint.pth'], 'is what is read'],
    ['a format without a name', ['checkpoint.pth', 'x.onnx', '--names', 'official'], '.onnx says no format'],
    ['a file for Hugging Face', ['checkpoint.pth', 'x.pth', '--names', 'huggingface'], 'writes a folder'],
    ['heads for timm', ['checkpoint.pth', 'x.pth', '--names', 'timm', '--part', 'all'], 'know no heads'],
    ['heads for Hugging Face', ['checkpoint.pth', 'x', '--part', 'all'], 'know no heads'],
    ['a part that is not there', ['checkpoint.pth', 'x.pth', '--checkpoint_key', 'ema'], "'ema'"],
    [
      'a precision without a format',
      ['checkpoint.pth', 'x.npz', '--dtype', 'bfloat16'],
      'do not hold bfloat16',
    ],
  ])('%s is said before anything is written', async (_, argv, message) => {
    const [input, output, ...flags] = argv;
    expect(await refusal(at(input), at(output), ...flags)).toContain(message);
    expect(readdirSync(folder)).not.toContain('x.pth');
  });
});
