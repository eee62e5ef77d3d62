/** Element types that libtorch 1.13 lacks come as wider ones that hold every value. */

import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../src/torch/index.js';
import { ArchiveWriter } from '../../src/weights/archive.js';
import { outlinePth, readPth, readSafetensors, TensorOutline } from '../../src/weights/index.js';
import { temporaryFolder } from './folder.js';

const at = temporaryFolder();

/** A file as PyTorch 2.3 and newer write tensors of such types: a storage of bytes, and the dtype beside it. */
function pth(dtype: string, bytes: Uint8Array, numel: number): string {
  const text = (value: string) => `X${String.fromCharCode(value.length)}\0\0\0${value}`;
  const number = (value: number) => `K${String.fromCharCode(value)}`;
  const storage = `(${text('storage')}ctorch.storage\nUntypedStorage\n${text('0')}${text('cpu')}${number(bytes.length)}tQ`;
  const tensor = `ctorch._utils\n_rebuild_tensor_v3\n(${storage}${number(0)}${number(numel)}\x85${number(1)}\x85\x89ccollections\nOrderedDict\n)Rctorch\n${dtype}\ntR`;
  const chunks: Uint8Array[] = [];
  const writer = new ArchiveWriter((part) => chunks.push(Uint8Array.from(part)));
  writer.add('a/data.pkl', Buffer.from(`\x80\x02${tensor}.`, 'latin1'));
  writer.add('a/data/0', bytes);
  writer.finish();
  writeFileSync(at('foreign.pth'), Buffer.concat(chunks));
  return at('foreign.pth');
}

function safetensors(dtype: string, bytes: Uint8Array, numel: number): string {
  const json = Buffer.from(JSON.stringify({ x: { dtype, shape: [numel], data_offsets: [0, bytes.length] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(at('foreign.safetensors'), Buffer.concat([length, json, bytes]));
  return at('foreign.safetensors');
}

const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

describe.each<[string, string | undefined, ArrayBufferView, string, (number | bigint)[]]>([
  ['uint16', 'U16', Uint16Array.of(0, 40_000, 65_535), 'int32', [0, 40_000, 65_535]],
  ['uint32', 'U32', Uint32Array.of(7, 2 ** 32 - 1), 'int64', [7n, 2n ** 32n - 1n]],
  ['uint64', 'U64', BigUint64Array.of(7n, 2n ** 63n - 1n), 'int64', [7n, 2n ** 63n - 1n]],
  [
    'float8_e4m3fn',
    'F8_E4M3',
    Uint8Array.of(0x00, 0x01, 0x08, 0x38, 0x7e, 0xfe, 0x7f),
    'float32',
    [0, 2 ** -9, 2 ** -6, 1, 448, -448, Number.NaN],
  ],
  [
    'float8_e5m2',
    'F8_E5M2',
    Uint8Array.of(0x01, 0x3c, 0x7b, 0x7c, 0xfc, 0x7d),
    'float32',
    [2 ** -16, 1, 57_344, Infinity, -Infinity, Number.NaN],
  ],
  [
    'float8_e4m3fnuz',
    undefined,
    Uint8Array.of(0x01, 0x40, 0x7f, 0x80),
    'float32',
    [2 ** -10, 1, 240, Number.NaN],
  ],
  ['float8_e5m2fnuz', undefined, Uint8Array.of(0x40, 0x7f, 0x80), 'float32', [1, 57_344, Number.NaN]],
  [
    'float8_e8m0fnu',
    'F8_E8M0',
    Uint8Array.of(0, 127, 254, 255),
    'float32',
    [2 ** -127, 1, 2 ** 127, Number.NaN],
  ],
])('%s', (dtype, code, array, wide, values) => {
  const check = (tensor: Tensor) => {
    expect([tensor.dtype, ...tensor.shape]).toEqual([wide, values.length]);
    expect([...(tensor.toArray() as Iterable<number | bigint>)]).toEqual(values);
  };

  it('of a .pth file', () => {
    check(readPth(pth(dtype, bytesOf(array), values.length)) as Tensor);
    const outline = outlinePth(at('foreign.pth')).value as unknown as TensorOutline;
    expect(outline).toBeInstanceOf(TensorOutline);
    expect([outline.dtype, outline.bytes]).toEqual([dtype, array.byteLength]);
  });

  it.skipIf(code === undefined)('of a safetensors file', () => {
    const { tensors } = readSafetensors(safetensors(code as string, bytesOf(array), values.length));
    check(tensors.get('x') as Tensor);
  });
});

describe('complex numbers', () => {
  it('of halves become those of floats', () => {
    const halves = Uint16Array.of(0x3c00, 0xc000, 0x3555, 0x0001);
    const tensor = readPth(pth('complex32', bytesOf(halves), 2)) as Tensor;
    expect(tensor.dtype).toBe('complex64');
    expect([...new Float32Array(tensor.bytes().buffer)]).toEqual([1, -2, 0.333251953125, 2 ** -24]);
  });

  it('of safetensors are what they are', () => {
    const { tensors } = readSafetensors(safetensors('C64', bytesOf(Float32Array.of(1, -2)), 1));
    expect(tensors.get('x')?.dtype).toBe('complex64');
  });
});

it('unsigned numbers that no type holds are refused', () => {
  const path = pth('uint64', bytesOf(BigUint64Array.of(2n ** 63n)), 1);
  expect(() => readPth(path)).toThrow(/unsigned 64-bit numbers of 2\^63 and more/);
});

it('tensors of a byte storage are checked by their own width', () => {
  expect(() => readPth(pth('uint16', new Uint8Array(7), 4))).toThrow(/reaches element 3 of a storage of 3/);
  expect(() => readPth(pth('int8', new Uint8Array(4), 4))).not.toThrow();
});
