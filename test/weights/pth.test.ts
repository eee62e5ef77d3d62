/** What is written to a `.pth` file comes back as it was: values, types, memory that is shared. */

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { arange, type DType, fromBuffer, type Tensor, tensor, zeros } from '../../src/torch/index.js';
import {
  Namespace,
  NumpyArray,
  type NumpyDType,
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
  writePth,
} from '../../src/weights/index.js';
import { temporaryFolder } from './folder.js';

const at = temporaryFolder();

function roundTrip(value: PyValue, name = 'round.pth'): PyValue {
  writePth(at(name), value);
  return readPth(at(name));
}

function tensorTrip(value: Tensor): Tensor {
  return roundTrip(value) as Tensor;
}

const DTYPES: readonly DType[] = [
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
  'complex64',
  'complex128',
];
const WIDTHS: Partial<Record<DType, number>> = { complex64: 8, complex128: 16, float16: 2, bfloat16: 2 };

describe('tensors', () => {
  it.each(DTYPES)('keep every bit of %s', (dtype) => {
    const width = WIDTHS[dtype] ?? tensor([1], { dtype }).bytes().length;
    // All kinds of bit patterns, NaNs with payloads among them; a bool is 0 or 1.
    const bytes = Uint8Array.from({ length: 12 * width }, (_, i) =>
      dtype === 'bool' ? i % 2 : (i * 83 + 7) % 256,
    );
    const back = tensorTrip(fromBuffer(bytes.buffer, { shape: [3, 4], dtype }));
    expect(back.dtype).toBe(dtype);
    expect(back.shape).toEqual([3, 4]);
    expect([...back.bytes()]).toEqual([...bytes]);
  });

  it('keep values that floats and numbers cannot hold', () => {
    const large = tensor(BigInt64Array.from([2n ** 53n + 1n, -(2n ** 63n), 2n ** 63n - 1n]));
    expect([...(tensorTrip(large).toArray() as BigInt64Array)]).toEqual([
      2n ** 53n + 1n,
      -(2n ** 63n),
      2n ** 63n - 1n,
    ]);
    const odd = tensor(Float32Array.from([-0, Infinity, -Infinity, 1e-45, Number.NaN]));
    const back = tensorTrip(odd).toFloat32();
    expect([...back].map((value) => Object.is(value, -0))).toEqual([true, false, false, false, false]);
    expect([...back]).toEqual([-0, Infinity, -Infinity, Math.fround(1e-45), Number.NaN]);
  });

  it.each([
    ['without dimensions', []],
    ['without elements', [0]],
    ['without elements in two dimensions', [0, 3]],
    ['of six dimensions', [1, 2, 1, 2, 1, 2]],
  ])('%s keep their shape', (_, shape) => {
    const back = tensorTrip(zeros(shape).add(1));
    expect(back.shape).toEqual(shape);
    expect([...back.toFloat32()]).toEqual(Array(back.numel).fill(1));
  });

  it('that are not contiguous keep strides and values', () => {
    const base = arange(0, 12, 1, { dtype: 'float32' }).view([3, 4]);
    const back = roundTrip([base.t(), base.slice(1, 1, null, 2), base.narrow(0, 2, 1).expand([5, 4])]);
    const [turned, thinned, repeated] = back as Tensor[];
    expect([turned.shape, turned.strides]).toEqual([
      [4, 3],
      [1, 4],
    ]);
    expect([...turned.toFloat32()]).toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
    expect([...thinned.toFloat32()]).toEqual([1, 3, 5, 7, 9, 11]);
    expect(repeated.strides[0]).toBe(0);
    expect([...repeated.select(0, 4).toFloat32()]).toEqual([8, 9, 10, 11]);
  });

  it('that look into one memory do so again, and it is written once', () => {
    const base = zeros([1000]);
    const views = { whole: base, part: base.narrow(0, 100, 10), other: zeros([10]) };
    const back = roundTrip(new Map(Object.entries(views))) as Map<string, Tensor>;
    const [whole, part, other] = ['whole', 'part', 'other'].map((name) => back.get(name) as Tensor);
    expect(part.storage.identity).toBe(whole.storage.identity);
    expect(part.storage.offset).toBe(100);
    expect(other.storage.identity).not.toBe(whole.storage.identity);
    part.add_(7);
    expect(whole.sumAll().item()).toBe(70);
    expect(statSync(at('round.pth')).size).toBeLessThan(2 * 4000);
  });

  it('without elements stay apart', () => {
    const [a, b] = roundTrip([zeros([0]), zeros([0], { dtype: 'int64' })]) as Tensor[];
    expect([a.dtype, b.dtype]).toEqual(['float32', 'int64']);
  });

  it('that need a gradient are written as plain ones; parameters keep the flag', () => {
    const weight = zeros([2]);
    weight.requiresGrad = true;
    expect(tensorTrip(weight).requiresGrad).toBe(false);
    const back = roundTrip([new TorchParameter(zeros([2]), true), new TorchParameter(zeros([1]), false)]);
    const [trained, fixed] = back as TorchParameter[];
    expect([trained.requiresGrad, fixed.requiresGrad]).toEqual([true, false]);
    expect(trained.data.shape).toEqual([2]);
  });
});

describe('numbers', () => {
  it.each([0, 1, 255, 256, 65_535, 65_536, -1, -256, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), -(2 ** 31) - 1])(
    'the whole number %d stays one',
    (value) => {
      expect(roundTrip(value)).toBe(value);
    },
  );

  it.each([2 ** 53 - 1, -(2 ** 53) + 1])('%d is still a number', (value) => {
    expect(roundTrip(value)).toBe(value);
  });

  it.each([2n ** 53n, -(2n ** 53n), 2n ** 63n, 2n ** 64n - 1n, -(2n ** 127n), 10n ** 200n])(
    '%d stays a bigint',
    (value) => {
      expect(roundTrip(value)).toBe(value);
    },
  );

  it('whole numbers of more than 255 bytes stay what they are', () => {
    expect(roundTrip(2n ** 3000n)).toBe(2n ** 3000n);
  });

  it('small bigints come back as numbers: Python has one kind of whole number', () => {
    expect(roundTrip(5n)).toBe(5);
    expect(roundTrip(-129n)).toBe(-129);
  });

  it.each([0, -0, 1, 0.1, 1e300, 5e-324, Infinity, -Infinity, Number.NaN])(
    'the float %d stays one',
    (value) => {
      const back = roundTrip(new PyFloat(value));
      expect(back).toBeInstanceOf(PyFloat);
      expect(Object.is((back as PyFloat).value, value)).toBe(true);
    },
  );

  it('numbers that are not whole are floats', () => {
    expect(roundTrip(0.5)).toEqual(new PyFloat(0.5));
    expect(roundTrip(2 ** 60)).toEqual(new PyFloat(2 ** 60));
  });

  it.each<[NumpyScalar['dtype'], NumpyScalar['value']]>([
    ['float64', 0.1],
    ['float32', Math.fround(0.1)],
    ['int64', -(2n ** 60n)],
    ['int32', -70_000],
    ['int16', -300],
    ['int8', -7],
    ['uint8', 200],
    ['uint16', 65_535],
    ['uint32', 2 ** 32 - 1],
    ['uint64', 2n ** 64n - 1n],
    ['float16', 0.333251953125],
    ['float16', -(2 ** -24)],
    ['float16', -65_504],
    ['float16', Number.NEGATIVE_INFINITY],
    ['bool', true],
  ])('numpy %s stays what it is', (dtype, value) => {
    expect(roundTrip(new NumpyScalar(dtype, value))).toEqual(new NumpyScalar(dtype, value));
  });

  it('complex numbers', () => {
    expect(roundTrip([new PyComplex(1.5, -0), new PyComplex(Infinity, 2)])).toEqual([
      new PyComplex(1.5, -0),
      new PyComplex(Infinity, 2),
    ]);
  });
});

describe('numpy arrays', () => {
  it.each<[NumpyDType, number]>([
    ['float64', 8],
    ['float16', 2],
    ['uint32', 4],
    ['int8', 1],
    ['bool', 1],
  ])('of %s keep shape, order and bytes', (dtype, width) => {
    const bytes = Uint8Array.from({ length: 6 * width }, (_, i) => (dtype === 'bool' ? i % 2 : i * 37));
    for (const fortran of [false, true]) {
      const array = new NumpyArray(dtype, [2, 3], fortran, bytes);
      const back = roundTrip(array) as NumpyArray;
      expect({ ...back }).toEqual({ ...array });
      expect(back).toBeInstanceOf(NumpyArray);
    }
  });

  it('that occur twice are one again', () => {
    const array = new NumpyArray('uint8', [0, 3], false, new Uint8Array());
    const [first, second] = roundTrip([array, array]) as NumpyArray[];
    expect(first).toBe(second);
    expect(first.shape).toEqual([0, 3]);
  });
});

describe('texts and bytes', () => {
  it.each(['', 'a', 'naïve', '日本語', '🦊', 'line\nbreak\ttab', 'nul\0inside', '\\u0041'])('%j', (value) => {
    expect(roundTrip(value)).toBe(value);
  });

  it('of many letters', () => {
    expect(roundTrip('long '.repeat(20_000))).toBe('long '.repeat(20_000));
  });

  it('bytes', () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    expect(roundTrip(bytes)).toEqual(bytes);
    expect(roundTrip(new Uint8Array())).toEqual(new Uint8Array());
  });
});

describe('containers', () => {
  it('nest, and each keeps its kind and order', () => {
    const ordered = new OrderedDict([
      ['b', 1],
      ['a', new PyTuple([])],
    ]);
    ordered.attributes = new Map([['_metadata', new OrderedDict([['', new Map([['version', 2]])]])]]);
    const space = new Namespace();
    space.entries.set('lr', new PyFloat(0.1));
    space.entries.set('crops', [8, [96]]);
    const value = new Map<PyValue, PyValue>([
      [3, 'a whole number as a key'],
      ['none', null],
      ['truth', [true, false]],
      ['ordered', ordered],
      ['args', space],
      ['tuples', [1, 2, 3, 4].map((n) => new PyTuple(Array(n).fill('x')))],
      ['size', new PySize([2, 0, 3])],
      ['dtype', new PyTuple([new PyDType('bfloat16'), new PyDType('int64')])],
      ['empty', [new Map(), [], new OrderedDict(), new Namespace()]],
    ]);
    const back = roundTrip(value) as Map<PyValue, PyValue>;
    expect(back).toEqual(value);
    expect([...back.keys()]).toEqual([...value.keys()]);
    expect([...(back.get('ordered') as OrderedDict).keys()]).toEqual(['b', 'a']);
    expect((back.get('ordered') as OrderedDict).attributes).toEqual(ordered.attributes);
  });

  it('that occur twice are one again, also inside themselves', () => {
    const list: PyValue[] = [1];
    list.push(list);
    const back = roundTrip(new PyTuple([list, list])) as PyTuple;
    expect(back.items[0]).toBe(back.items[1]);
    expect((back.items[0] as PyValue[])[1]).toBe(back.items[0]);
  });

  it('of many entries: more than a byte counts', () => {
    const many = new Map<PyValue, PyValue>(Array.from({ length: 3000 }, (_, i) => [`name ${i}`, [i]]));
    expect(roundTrip(many)).toEqual(many);
  });

  it('whose keys are those of an object stay plain data', () => {
    const odd = new Map<PyValue, PyValue>([
      ['__proto__', new Map([['polluted', true]])],
      ['constructor', 1],
    ]);
    expect(roundTrip(odd)).toEqual(odd);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it('sets keep their members', () => {
    expect(roundTrip([new Set([1, 'x', null]), new Set()])).toEqual([new Set([1, 'x', null]), new Set()]);
  });
});

describe('the file', () => {
  it('is the same for the same content', () => {
    const content = () => new Map<PyValue, PyValue>([['w', arange(0, 5, 1)]]);
    writePth(at('a.pth'), content());
    writePth(at('b.pth'), content());
    expect(readFileSync(at('a.pth')).equals(readFileSync(at('b.pth')))).toBe(true);
  });

  it('has storages at multiples of 64 bytes, so that they can be mapped', () => {
    const marks = [101, 102, 103].map((value) => tensor(new Uint8Array(40).fill(value)));
    writePth(at('aligned.pth'), marks);
    const bytes = readFileSync(at('aligned.pth'));
    for (const value of [101, 102, 103]) expect(bytes.indexOf(Buffer.alloc(40, value)) % 64).toBe(0);
  });
});

describe('a failure while writing', () => {
  it('leaves the file that was there, and nothing beside it', () => {
    mkdirSync(at('kept'));
    const path = at('kept/state.pth');
    writePth(path, 'first');
    const before = readFileSync(path);
    expect(() => writePth(path, ['second', Symbol.iterator as unknown as PyValue])).toThrow(TypeError);
    const late = tensor([1, 2, 3]);
    // What fails only when the bytes are wanted: the file is half written by then.
    Object.defineProperty(late, 'detach', {
      value() {
        throw new Error('the device is gone');
      },
    });
    expect(() => writePth(path, [zeros([100]), late])).toThrow('the device is gone');
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(readdirSync(dirname(path))).toEqual(['state.pth']);
  });

  it('names a folder that does not exist, and makes none', () => {
    expect(() => writePth(at('nowhere/state.pth'), 1)).toThrow(UserError);
    expect(() => writePth(at('nowhere/state.pth'), 1)).toThrow(/nowhere\/state\.pth.*folder does not exist/);
  });

  it('names a folder that stands in its place', () => {
    mkdirSync(at('taken'));
    expect(() => writePth(at('taken'), 1)).toThrow(UserError);
    expect(() => writePth(at('taken'), 1)).toThrow(/taken: a folder stands in its place/);
    expect(readdirSync(dirname(at('taken'))).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('names a file that stands where a folder should', () => {
    writeFileSync(at('file'), '');
    expect(() => writePth(at('file/state.pth'), 1)).toThrow(/a part of the path is a file/);
  });
});
