/** PyTorch itself reads what we write, and we read what it writes; skipped where Python has no torch. */

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildBackbone } from '../../src/models/index.js';
import { arange, type DType, noGrad, type Tensor, tensor, zeros } from '../../src/torch/index.js';
import {
  backboneState,
  Namespace,
  NumpyArray,
  NumpyScalar,
  OrderedDict,
  PyComplex,
  PyDType,
  PyFloat,
  PySize,
  PyTuple,
  type PyValue,
  readPth,
  TorchParameter,
  toStateDict,
  writePth,
  writeTensors,
} from '../../src/weights/index.js';
import { temporaryFolder } from './folder.js';

const PYTHON = '/usr/bin/python3';
const hasTorch =
  spawnSync(PYTHON, ['-c', 'import importlib.util as u; assert u.find_spec("torch")']).status === 0;

const at = temporaryFolder();

/** Reads ours, says what it saw as JSON, and writes its own files. One process: importing torch takes a while. */
const SCRIPT = `
import argparse, collections, json, sys
import numpy
import torch

folder = sys.argv[1]

def seen(x):
    name = type(x).__name__
    if isinstance(x, torch.nn.Parameter):
        return {"t": "Parameter", "grad": x.requires_grad, "v": x.tolist()}
    if isinstance(x, torch.Tensor):
        return {"t": str(x.dtype), "shape": list(x.shape), "stride": list(x.stride()), "v": x.double().flatten().tolist()}
    if isinstance(x, torch.Size):
        return {"t": "Size", "v": list(x)}
    if isinstance(x, torch.dtype):
        return {"t": "dtype", "v": str(x)}
    if isinstance(x, dict):
        return {"t": name, "v": [[seen(k), seen(v)] for k, v in x.items()], "extra": seen(vars(x)) if hasattr(x, "__dict__") else None}
    if isinstance(x, argparse.Namespace):
        return {"t": name, "v": seen(vars(x))}
    if isinstance(x, (list, tuple)):
        return {"t": name, "v": [seen(i) for i in x]}
    if isinstance(x, numpy.generic):
        return {"t": "numpy." + x.dtype.name, "v": x.item()}
    if isinstance(x, (numpy.ndarray, set, complex)):
        return {"t": name, "v": str(x)}
    if isinstance(x, bytes):
        return {"t": name, "v": list(x)}
    return {"t": name, "v": str(x) if isinstance(x, int) and not isinstance(x, bool) else x}

ours = torch.load(folder + "/ours.pth", weights_only=False)
views = torch.load(folder + "/views.pth", weights_only=False)
views[1].add_(5)
state = torch.load(folder + "/state.pth", weights_only=True)
layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
layer.load_state_dict(state)

tied = torch.load(folder + "/tied.pth", weights_only=True)
try:
    import torchvision
    resnet = torchvision.models.resnet18()
    del resnet.fc
    resnet.load_state_dict(torch.load(folder + "/resnet.pth", weights_only=True))
    vision = resnet.layer4[1].bn2.bias.tolist()[:2]
except ImportError:
    vision = None

base = torch.arange(12.0)
theirs = {
    "net": layer.state_dict(),
    "views": [base, base.view(3, 4).t(), base[2:4]],
    "half": torch.tensor([1.5, -2.0]).half(),
    "brain": torch.tensor([1.5, -2.0]).bfloat16(),
    "mask": torch.tensor([True, False]),
    "args": argparse.Namespace(lr=0.1, epochs=3, name="\\u65e5\\u672c"),
    "best": numpy.float64(76.5),
    "param": torch.nn.Parameter(torch.ones(2)),
    "big": 2 ** 100,
    "set": {1, 2},
    "complex": 1.5 - 2j,
    "array": numpy.asfortranarray(numpy.arange(6, dtype="u2").reshape(2, 3)),
    "dtypes": [torch.ones(2).to(getattr(torch, n)) for n in sys.argv[2].split(",")],
}
other = torch.nn.Linear(3, 2)
optimizer = torch.optim.AdamW(other.parameters(), lr=0.001)
other(torch.ones(4, 3)).sum().backward()
optimizer.step()
theirs["optimizer"] = optimizer.state_dict()
torch.save(theirs, folder + "/theirs.zip.pth")
torch.save(theirs, folder + "/theirs.legacy.pth", _use_new_zipfile_serialization=False)
print(json.dumps({"ours": seen(ours), "shared": views[0].tolist(), "state": seen(layer.state_dict()),
    "tied": tied["a"].data_ptr() == tied["b"].data_ptr(), "vision": vision,
    "array": ours["array"].tolist(), "odd": [sorted(ours["set"]), str(ours["complex"])]}))
`;

const TYPES: readonly DType[] = [
  'float32',
  'float64',
  'float16',
  'bfloat16',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint8',
  'bool',
];

/** All that 1.13 saves of dense tensors. */
const DENSE: readonly DType[] = [...TYPES, 'complex64', 'complex128'];

interface Seen {
  t: string;
  v: unknown;
  [field: string]: unknown;
}

describe.skipIf(!hasTorch)('PyTorch', () => {
  let report: {
    ours: Seen;
    shared: number[];
    state: Seen;
    tied: boolean;
    vision: number[] | null;
    array: number[][];
    odd: unknown[];
  };

  beforeAll(() => {
    const ordered = new OrderedDict([['key', 1]]);
    ordered.attributes = new Map<PyValue, PyValue>([['_metadata', new Map()]]);
    const space = new Namespace();
    space.entries.set('lr', new PyFloat(1));
    space.entries.set('epochs', 3);
    const ours = new Map<PyValue, PyValue>([
      ['tensors', TYPES.map((dtype) => tensor([1, 0, 1], { dtype }))],
      ['shapes', [tensor(3), zeros([0, 2]), arange(0, 6, 1).view([2, 3]).t()]],
      ['ints', [0, -1, 2 ** 31, 2n ** 63n, -(2n ** 100n)]],
      ['floats', [new PyFloat(1), new PyFloat(-0.1)]],
      ['texts', ['', 'naïve 日本語 🦊']],
      ['bytes', Uint8Array.from([0, 127, 128, 255])],
      ['truth', new PyTuple([true, false, null])],
      ['ordered', ordered],
      ['args', space],
      ['size', new PySize([2, 3])],
      ['dtype', new PyDType('bfloat16')],
      [
        'numpy',
        [new NumpyScalar('float64', 0.5), new NumpyScalar('int64', 7), new NumpyScalar('bool', true)],
      ],
      ['parameter', new TorchParameter(tensor([1, 2]), true)],
      ['array', new NumpyArray('uint8', [2, 3], true, Uint8Array.of(1, 4, 2, 5, 3, 6))],
      ['set', new Set([2, 1])],
      ['complex', new PyComplex(1, -2)],
    ]);
    const weight = tensor([1, 2]);
    writeTensors(
      at('tied.pth'),
      new Map([
        ['a', weight],
        ['b', weight],
      ]),
    );
    const resnet = buildBackbone({ arch: 'resnet18' }).stateDict();
    for (const [name, value] of resnet) if (name.endsWith('layer4.1.bn2.bias')) noGrad(() => value.fill_(7));
    writeTensors(at('resnet.pth'), backboneState(resnet));
    writePth(at('ours.pth'), ours);
    const base = zeros([4]);
    writePth(at('views.pth'), [base, base.narrow(0, 1, 2)]);
    const state = new Map<string, Tensor>([
      ['0.weight', arange(0, 6, 1, { dtype: 'float32' }).view([2, 3])],
      ['0.bias', tensor([7, 8])],
      ['1.weight', tensor([1, 1])],
      ['1.bias', tensor([0, 0])],
      ['1.running_mean', tensor([0.5, 0.25])],
      ['1.running_var', tensor([1, 2])],
      ['1.num_batches_tracked', tensor(9n, { dtype: 'int64' })],
    ]);
    writePth(at('state.pth'), toStateDict(state));
    writeFileSync(at('exchange.py'), SCRIPT);
    const { status, stdout, stderr } = spawnSync(PYTHON, [at('exchange.py'), at('.'), DENSE.join()], {
      encoding: 'utf8',
      env: { ...process.env, OMP_NUM_THREADS: '1' },
    });
    if (status !== 0) throw new Error(stderr);
    report = JSON.parse(stdout);
  }, 300_000);

  it('reads our values as what they are', () => {
    const entries = new Map(
      (report.ours.v as [Seen, Seen][]).map(([key, value]) => [key.v as string, value] as const),
    );
    const items = (key: string) => entries.get(key)?.v as Seen[];
    expect(report.ours.t).toBe('dict');
    expect(items('tensors').map(({ t }) => t)).toEqual(TYPES.map((dtype) => `torch.${dtype}`));
    for (const { v } of items('tensors')) expect(v).toEqual([1, 0, 1]);
    expect(items('shapes').map(({ shape, stride }) => [shape, stride])).toEqual([
      [[], []],
      [
        [0, 2],
        [2, 1],
      ],
      [
        [3, 2],
        [1, 3],
      ],
    ]);
    expect(items('shapes')[2].v).toEqual([0, 3, 1, 4, 2, 5]);
    expect(items('ints')).toEqual(
      ['0', '-1', `${2 ** 31}`, `${2n ** 63n}`, `${-(2n ** 100n)}`].map((v) => ({ t: 'int', v })),
    );
    expect(items('floats')).toEqual([
      { t: 'float', v: 1 },
      { t: 'float', v: -0.1 },
    ]);
    expect(items('texts').map(({ v }) => v)).toEqual(['', 'naïve 日本語 🦊']);
    expect(entries.get('bytes')).toEqual({ t: 'bytes', v: [0, 127, 128, 255] });
    expect(entries.get('truth')).toMatchObject({ t: 'tuple', v: [{ v: true }, { v: false }, { v: null }] });
    expect(entries.get('ordered')).toMatchObject({
      t: 'OrderedDict',
      v: [[{ v: 'key' }, { v: '1' }]],
      extra: { v: [[{ v: '_metadata' }, { t: 'dict' }]] },
    });
    expect(entries.get('args')).toMatchObject({
      t: 'Namespace',
      v: {
        v: [
          [{ v: 'lr' }, { t: 'float', v: 1 }],
          [{ v: 'epochs' }, { t: 'int', v: '3' }],
        ],
      },
    });
    expect(entries.get('size')).toEqual({ t: 'Size', v: [2, 3] });
    expect(entries.get('dtype')).toEqual({ t: 'dtype', v: 'torch.bfloat16' });
    expect(items('numpy')).toEqual([
      { t: 'numpy.float64', v: 0.5 },
      { t: 'numpy.int64', v: 7 },
      { t: 'numpy.bool', v: true },
    ]);
    expect(entries.get('parameter')).toEqual({ t: 'Parameter', grad: true, v: [1, 2] });
  });

  it('sees shared memory as shared', () => {
    expect(report.shared).toEqual([0, 5, 5, 0]);
  });

  it('loads our state dict into its modules, also by its restricted reader', () => {
    const entries = (report.state.v as [Seen, Seen][]).map(([key, value]) => [key.v, value.v]);
    expect(entries).toEqual([
      ['0.weight', [0, 1, 2, 3, 4, 5]],
      ['0.bias', [7, 8]],
      ['1.weight', [1, 1]],
      ['1.bias', [0, 0]],
      ['1.running_mean', [0.5, 0.25]],
      ['1.running_var', [1, 2]],
      ['1.num_batches_tracked', [9]],
    ]);
  });

  it('sees tied weights as one, sets, complex numbers and arrays as what they are', () => {
    expect(report.tied).toBe(true);
    expect(report.array).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(report.odd).toEqual([[1, 2], '(1-2j)']);
  });

  it("gives our ResNet's weights to torchvision's, all of them (where there is torchvision)", ({ skip }) => {
    if (report.vision === null) skip('python3 has no torchvision');
    expect(report.vision).toEqual([7, 7]);
  });

  it.each(['theirs.zip.pth', 'theirs.legacy.pth'])('writes %s, and we read all of it', (name) => {
    const theirs = readPth(at(name)) as Map<string, PyValue>;
    const numbers = (value: PyValue | undefined) => Array.from((value as Tensor).toArray(), Number);
    const net = theirs.get('net') as OrderedDict;
    expect(net).toBeInstanceOf(OrderedDict);
    expect(numbers(net.get('0.bias'))).toEqual([7, 8]);
    expect((net.get('1.num_batches_tracked') as Tensor).shape).toEqual([]);
    expect(net.attributes?.has('_metadata')).toBe(true);
    const [base, turned, part] = theirs.get('views') as Tensor[];
    expect(numbers(turned)).toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
    base.add_(1);
    expect(numbers(part)).toEqual([3, 4]);
    expect(numbers(theirs.get('half'))).toEqual([1.5, -2]);
    expect((theirs.get('half') as Tensor).dtype).toBe('float16');
    expect(numbers(theirs.get('brain'))).toEqual([1.5, -2]);
    expect((theirs.get('mask') as Tensor).dtype).toBe('bool');
    expect([...(theirs.get('args') as Namespace).entries]).toEqual([
      ['lr', new PyFloat(0.1)],
      ['epochs', 3],
      ['name', '日本'],
    ]);
    expect(theirs.get('best')).toEqual(new NumpyScalar('float64', 76.5));
    expect((theirs.get('param') as TorchParameter).requiresGrad).toBe(true);
    expect(theirs.get('big')).toBe(2n ** 100n);
    expect(theirs.get('set')).toEqual(new Set([1, 2]));
    expect(theirs.get('complex')).toEqual(new PyComplex(1.5, -2));
    expect(theirs.get('array')).toMatchObject({ dtype: 'uint16', shape: [2, 3], fortranOrder: true });
    expect((theirs.get('dtypes') as Tensor[]).map(({ dtype }) => dtype)).toEqual(DENSE);
    for (const ones of theirs.get('dtypes') as Tensor[]) {
      const sizes = ones.dtype.startsWith('complex') ? ones.abs() : ones;
      expect(sizes.to({ dtype: 'float64' }).sumAll().item(), ones.dtype).toBe(2);
    }
    const optimizer = theirs.get('optimizer') as Map<string, PyValue>;
    expect([...(optimizer.get('state') as Map<number, PyValue>).keys()]).toEqual([0, 1]);
  });
});
