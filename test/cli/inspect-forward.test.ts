/** `esvit inspect` tells what is in a file without reading its weights; `esvit forward` gives the network's own numbers. */

import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { forward } from '../../src/cli/forward.js';
import { inspect } from '../../src/cli/inspect.js';
import { buildBackbone } from '../../src/models/index.js';
import { arange, cat, manualSeed, noGrad, type Tensor, tensor, zeros } from '../../src/torch/index.js';
import {
  Namespace,
  NumpyScalar,
  OrderedDict,
  PyFloat,
  PyTuple,
  type PyValue,
  readSafetensors,
  readTensors,
  toStateDict,
  writeNpy,
  writePth,
  writeSafetensors,
  writeTensors,
} from '../../src/weights/index.js';
import { run } from './harness.js';

const folder = mkdtempSync(join(tmpdir(), 'esvit-inspect-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

interface Report {
  format: string;
  size: number;
  tensors: Record<string, unknown>[];
  values: { path: string; value: unknown }[];
}

async function report(...argv: string[]): Promise<Report> {
  const { code, out, err } = await run(inspect, 'inspect', '--json', ...argv);
  expect(code, err).toBe(0);
  return JSON.parse(out);
}

function checkpoint(): string {
  const args = new Namespace();
  args.entries.set('lr', new PyFloat(0.0005));
  args.entries.set('arch', 'swin_tiny');
  args.entries.set('crops', [2, 8]);
  const base = tensor([1, 2, 3, 4, 5, 6, Number.NaN, Number.POSITIVE_INFINITY]);
  const content = new Map<PyValue, PyValue>([
    [
      'teacher',
      new OrderedDict([
        ['norm.weight', base],
        ['norm.part', base.narrow(0, 2, 3)],
      ]),
    ],
    ['optimizer', new Map<PyValue, PyValue>([['state', new Map([[0, new Map([['exp_avg', zeros([4])]])]])]])],
    ['epoch', 7],
    ['best', new NumpyScalar('float64', 76.5)],
    ['betas', new PyTuple([new PyFloat(0.9), new PyFloat(0.999)])],
    ['args', args],
  ]);
  writePth(at('checkpoint.pth'), content);
  return at('checkpoint.pth');
}

describe('inspect', () => {
  it('lists tensors with shapes, places and sharing, and what is saved beside them', async () => {
    const { format, tensors, values } = await report(checkpoint());
    expect(format).toBe('pth, zip');
    expect(tensors).toEqual([
      {
        path: 'teacher/norm.weight',
        ...{ dtype: 'float32', shape: [8], strides: [1], bytes: 32 },
        ...{ storage: { key: '0', bytes: 32, offset: 0 }, sharesWith: null },
      },
      {
        path: 'teacher/norm.part',
        ...{ dtype: 'float32', shape: [3], strides: [1], bytes: 12 },
        ...{ storage: { key: '0', bytes: 32, offset: 2 }, sharesWith: 'teacher/norm.weight' },
      },
      {
        path: 'optimizer/state/0/exp_avg',
        ...{ dtype: 'float32', shape: [4], strides: [1], bytes: 16 },
        ...{ storage: { key: '1', bytes: 16, offset: 0 }, sharesWith: null },
      },
    ]);
    expect(values).toEqual([
      { path: 'epoch', value: 7 },
      { path: 'best', value: 76.5 },
      { path: 'betas', value: '(0.9, 0.999)' },
      { path: 'args/lr', value: 0.0005 },
      { path: 'args/arch', value: 'swin_tiny' },
      { path: 'args/crops', value: '[2, 8]' },
    ]);
  });

  it('shows a part, with figures of the weights', async () => {
    const { tensors, values } = await report(checkpoint(), '--checkpoint_key', 'teacher', '--stats');
    expect(values).toEqual([]);
    expect(tensors[0]).toMatchObject({ min: 1, max: 6, mean: 3.5, nonFinite: 2 });
    expect(tensors[0].std).toBeCloseTo(Math.sqrt(35 / 12), 12);
    expect(tensors[1]).toMatchObject({ min: 3, max: 5, mean: 4, nonFinite: 0 });
    const { code, err } = await run(inspect, 'inspect', checkpoint(), '--checkpoint_key', 'model');
    expect([code, err]).toEqual([2, expect.stringContaining("no 'model'; it has teacher, optimizer, epoch")]);
  });

  it('prints a table for people, the optimiser as a sum', async () => {
    const { out } = await run(inspect, 'inspect', checkpoint());
    expect(out).toContain('3 tensors in 48 B');
    expect(out).toMatch(
      /teacher\/norm\.part +float32 +\[3\] +12 B +shares memory with teacher\/norm\.weight/,
    );
    expect(out).toContain('optimizer: 1 tensors, 16 B (--checkpoint_key optimizer lists them)');
    expect(out).not.toContain('exp_avg');
    expect(out).toMatch(/args\/lr +0\.0005/);
  });

  it('reads no weights: a file of which only the head is there is told all the same', async () => {
    writeSafetensors(at('large.safetensors'), new Map([['w', zeros([1000])]]), { note: 'x' });
    const { tensors, values } = await report(at('large.safetensors'));
    expect(tensors).toMatchObject([{ path: 'w', shape: [1000], bytes: 4000 }]);
    expect(values).toEqual([{ path: 'metadata/note', value: 'x' }]);
    // A sparse file: the zeros of 64 GiB are claimed, not stored.
    const header = JSON.stringify({ w: { dtype: 'F32', shape: [2 ** 34], data_offsets: [0, 2 ** 36] } });
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(at('sparse.safetensors'), Buffer.concat([length, Buffer.from(header)]));
    truncateSync(at('sparse.safetensors'), 8 + header.length + 2 ** 36);
    expect((await report(at('sparse.safetensors'))).tensors).toMatchObject([{ bytes: 2 ** 36 }]);
    rmSync(at('sparse.safetensors'));
  });

  it('reads arrays of numpy', async () => {
    writeTensors(at('a.npz'), new Map([['x', zeros([2, 3], { dtype: 'int64' })]]));
    expect(await report(at('a.npz'))).toMatchObject({ format: 'npz', tensors: [{ path: 'x', bytes: 48 }] });
    writeNpy(at('feats.npy'), zeros([2, 3]));
    expect((await report(at('feats.npy'), '--stats')).tensors).toMatchObject([{ path: 'feats', mean: 0 }]);
  });

  it('is not led astray by containers inside themselves, or that come a million times', async () => {
    const list: PyValue[] = [1];
    list.push(list, new Map([['again', list]]));
    let laughs: PyValue[] = ['ha', zeros([1])];
    for (let i = 0; i < 40; i++) laughs = [laughs, laughs];
    let deep: PyValue[] = [zeros([1])];
    for (let i = 0; i < 500; i++) deep = [deep];
    writePth(
      at('odd.pth'),
      new Map<PyValue, PyValue>([
        ['list', list],
        ['laughs', laughs],
        ['deep', deep],
      ]),
    );
    const { tensors, values } = await report(at('odd.pth'));
    expect(tensors.length).toBe(1);
    expect(values.map(({ value }) => value)).toContain('(the same as list)');
    expect(values.map(({ value }) => value)).toContain('(deeper)');
  });
});

describe('forward', () => {
  const SPEC = ['DIM_EMBED 12', 'DEPTHS [1,2]', 'NUM_HEADS [1,2]', 'WINDOW_SIZE 4'].flatMap((field) =>
    `MODEL.SPEC.${field}`.split(' '),
  );
  const spec = { DIM_EMBED: 12, DEPTHS: [1, 2], NUM_HEADS: [1, 2], WINDOW_SIZE: 4 };
  const pictures = (count: number, size: number) =>
    arange(0, count * 3 * size * size, 1, { dtype: 'float32' })
      .view([count, 3, size, size])
      .div(7)
      .sin();

  it('gives the features that the network itself gives, in any batches', async () => {
    manualSeed(5);
    const own = buildBackbone({ arch: 'swin', spec, imgSize: 32 }).eval();
    writePth(at('weights.pth'), new Map([['teacher', toStateDict(own.stateDict())]]));
    const inputs = new Map([
      ['a', pictures(3, 32)],
      ['b', pictures(1, 20)],
    ]);
    writeTensors(at('in.safetensors'), inputs);
    const argv = ['--arch', 'swin', '--weights', at('weights.pth'), '--image_size', '32', '--threads', '1'];
    const paths = ['--input', at('in.safetensors'), '--output', at('out.safetensors')];
    const asked = ['--batch_size', '2', '--last', '1', '3', '--attention', '--device', 'cpu'];
    writeFileSync(at('net.yaml'), 'MODEL:\n  NAME: swin_transformer\n');
    const { code, err } = await run(
      forward,
      'forward',
      '--cfg',
      at('net.yaml'),
      ...argv,
      ...paths,
      ...asked,
      ...SPEC,
    );
    expect(code, err).toBe(0);
    const { tensors, metadata } = readSafetensors(at('out.safetensors'));
    expect([...tensors.keys()].sort()).toEqual(
      [...inputs.keys()]
        .flatMap((name) =>
          ['attention.0', 'attention.1', 'attention.2', 'last1', 'last3', 'pooled', 'region'].map(
            (key) => `${name}.${key}`,
          ),
        )
        .sort(),
    );
    noGrad(() => {
      for (const [name, x] of inputs) {
        const { pooled, tokens } = own.forwardFeatures(x);
        const close = (key: string, value: Tensor) =>
          expect(tensors.get(`${name}.${key}`)?.sub(value).abs().max().item(), key).toBeLessThan(1e-5);
        close('pooled', pooled);
        close('region', tokens);
        close('last1', own.blockFeatures(x, 1));
        close('last3', own.blockFeatures(x, 3));
        // windows of a batch lie picture by picture, so batches follow each other
        const maps = [0, 1, 2].map((block) =>
          cat(
            Array.from(
              { length: x.shape[0] },
              (_, i) => own.attentionMaps(x.narrow(0, i, 1))[block].probabilities,
            ),
            0,
          ),
        );
        for (const [block, map] of maps.entries()) close(`attention.${block}`, map);
      }
    });
    expect(JSON.parse(metadata['a.region'])).toEqual({ grid: [4, 4] });
    expect(JSON.parse(metadata['a.attention.1'])).toMatchObject({ stage: 1, windowSize: 4, shift: 0 });
  });

  it('refuses what are no pictures, and blocks that are not there, before it writes', async () => {
    const refusal = async (value: Tensor, ...more: string[]) => {
      writeTensors(at('bad.npz'), new Map([['x', value]]));
      const flags = ['--arch', 'swin', '--input', at('bad.npz'), '--output', at('never.npz'), ...more];
      const { code, err } = await run(forward, 'forward', ...flags);
      expect(code).toBeGreaterThan(0);
      expect(() => readFileSync(at('never.npz'))).toThrow();
      return err;
    };
    expect(await refusal(zeros([3, 8, 8]))).toContain('expected pictures [N, 3, H, W]');
    expect(await refusal(zeros([1, 3, 8, 8], { dtype: 'uint8' }))).toContain('divide by 255');
    expect(await refusal(zeros([1, 3, 8, 8]), '--last', '99')).toContain('has 12 blocks');
    const odd = await run(forward, 'forward', '--arch', 'swin', '--input', at('a'), '--output', at('x.txt'));
    expect(odd.err).toContain('.safetensors, .npz or .pth');
  });
});

it('what forward writes is read like any file', () => {
  expect(readTensors(at('out.safetensors')).get('a.pooled')?.shape).toEqual([3, 24]);
});
