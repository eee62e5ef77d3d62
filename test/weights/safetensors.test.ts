/** safetensors files: what is written comes back, and a file whose header lies is refused. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { arange, type DType, fromBuffer, type Tensor, tensor, zeros } from '../../src/torch/index.js';
import { readSafetensors, writeSafetensors } from '../../src/weights/index.js';
import { temporaryFolder } from './folder.js';

const at = temporaryFolder();

function roundTrip(tensors: Record<string, Tensor>): Map<string, Tensor> {
  writeSafetensors(at('round.safetensors'), new Map(Object.entries(tensors)));
  return readSafetensors(at('round.safetensors')).tensors;
}

/** A file with this header and so many bytes of data. */
function file(header: unknown, data = 0, length?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header), 'latin1');
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(json.length));
  const path = at('made.safetensors');
  writeFileSync(path, Buffer.concat([prefix, json, Buffer.alloc(data)]));
  return path;
}

const entry = (begin: number, end: number, shape = [(end - begin) / 4], dtype = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

function refusal(path: string): string {
  try {
    readSafetensors(path);
  } catch (error) {
    if (error instanceof UserError && error.kind === 'checkpoint') return error.message;
    throw error;
  }
  throw new Error('was accepted');
}

describe('a round trip', () => {
  it.each<DType>([
    'float64',
    'float32',
    'float16',
    'bfloat16',
    'int64',
    'int32',
    'int16',
    'int8',
    'uint8',
    'bool',
  ])('keeps every bit of %s', (dtype) => {
    const width = tensor([1], { dtype }).bytes().length || 1;
    const size = { float16: 2, bfloat16: 2 }[dtype as string] ?? width;
    const bytes = Uint8Array.from({ length: 6 * size }, (_, i) =>
      dtype === 'bool' ? i % 2 : (i * 91) % 256,
    );
    const { x } = Object.fromEntries(roundTrip({ x: fromBuffer(bytes.buffer, { shape: [2, 3], dtype }) }));
    expect([x.dtype, x.shape]).toEqual([dtype, [2, 3]]);
    expect([...x.bytes()]).toEqual([...bytes]);
  });

  it('keeps shapes, odd names and values of views', () => {
    const base = arange(0, 6, 1, { dtype: 'float32' }).view([2, 3]);
    const back = roundTrip({
      scalar: tensor(2.5),
      none: zeros([0, 4]),
      turned: base.t(),
      'weiß 🦊': base.select(0, 1),
      '12': tensor([true], { dtype: 'bool' }),
    });
    expect(back.get('scalar')?.shape).toEqual([]);
    expect(back.get('scalar')?.item()).toBe(2.5);
    expect(back.get('none')?.shape).toEqual([0, 4]);
    expect([...(back.get('turned')?.toFloat32() ?? [])]).toEqual([0, 3, 1, 4, 2, 5]);
    expect([...(back.get('weiß 🦊')?.toFloat32() ?? [])]).toEqual([3, 4, 5]);
    expect(back.size).toBe(5);
  });

  it('keeps texts beside the tensors', () => {
    writeSafetensors(at('meta.safetensors'), new Map([['w', tensor([1])]]), { format: 'pt', note: 'größer' });
    expect(readSafetensors(at('meta.safetensors')).metadata).toEqual({ format: 'pt', note: 'größer' });
  });

  it('of a tensor that is written in pieces keeps every element, turned or not', () => {
    const wide = arange(0, (1 << 24) + 6, 1, { dtype: 'int32' }).view([2, -1]);
    const back = roundTrip({ wide: wide.t().to({ dtype: 'uint8' }) }).get('wide') as Tensor;
    expect(back.shape).toEqual([(1 << 23) + 3, 2]);
    expect(back.equal(wide.t().to({ dtype: 'uint8' }))).toBe(true);
  });

  it('of nothing is nothing', () => {
    expect(roundTrip({}).size).toBe(0);
  });

  it('aligns the data: the header is a multiple of 8, larger elements come first', () => {
    roundTrip({ byte: tensor([1], { dtype: 'uint8' }), wide: tensor([1], { dtype: 'float64' }) });
    const bytes = readFileSync(at('round.safetensors'));
    const length = Number(bytes.readBigUInt64LE());
    expect(length % 8).toBe(0);
    const header = JSON.parse(bytes.subarray(8, 8 + length).toString('utf8'));
    expect(header.wide.data_offsets).toEqual([0, 8]);
  });

  it('of a dtype that the format lacks is an error, and the old file stays', () => {
    writeSafetensors(at('kept.safetensors'), new Map([['w', tensor([1])]]));
    const before = readFileSync(at('kept.safetensors'));
    const complex = new Map([['z', zeros([1], { dtype: 'complex128' })]]);
    expect(() => writeSafetensors(at('kept.safetensors'), complex)).toThrow(/complex128/);
    expect(readFileSync(at('kept.safetensors')).equals(before)).toBe(true);
    expect(readdirSync(dirname(at('kept.safetensors'))).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('into a folder that does not exist names it', () => {
    expect(() => writeSafetensors(at('nowhere/w.safetensors'), new Map())).toThrow(/folder does not exist/);
  });
});

describe('a file is refused', () => {
  it.each<[string, unknown, number, string]>([
    ['whose tensors overlap', { a: entry(0, 8), b: entry(4, 12) }, 12, "'b' begins at byte 4, expected 8"],
    ['with a gap before the first', { a: entry(4, 8) }, 8, "'a' begins at byte 4, expected 0"],
    ['with a gap between two', { a: entry(0, 4), b: entry(8, 12) }, 12, "'b' begins at byte 8, expected 4"],
    ['with data that belong to nobody', { a: entry(0, 4) }, 8, 'it has 8 bytes of data, expected 4'],
    ['with too little data', { a: entry(0, 8) }, 4, 'it has 4 bytes of data, expected 8'],
    ['of an unknown dtype', { a: entry(0, 4, [1], 'F4') }, 4, 'the dtype F4'],
    [
      'of a float that a byte does not hold',
      { a: entry(0, 4, [1], 'F8_E5M2') },
      4,
      'expected 1 for float8_e5m2',
    ],
    ['of more dimensions than can be', { a: entry(0, 4, Array(65).fill(1)) }, 4, 'the impossible shape'],
    ['whose header begins with a space', ' {}', 0, 'does not begin with {'],
    ['of a dtype of an object', { a: entry(0, 4, [1], 'constructor') }, 4, 'the dtype constructor'],
    ['of a shape of another size', { a: entry(0, 8, [3]) }, 8, "'a' has 8 bytes, expected 12"],
    ['that ends before it begins', { a: entry(4, 0, [1]), b: entry(0, 4) }, 4, "'a'"],
    ['with a negative place', { a: entry(-4, 0, [1]) }, 0, "the entry 'a' is malformed"],
    ['with a size that is no whole number', { a: entry(0, 4, [0.5]) }, 4, "the entry 'a' is malformed"],
    ['with a size that is a text', { a: { ...entry(0, 4), shape: ['1'] } }, 4, "the entry 'a' is malformed"],
    ['without a shape', { a: { dtype: 'F32', data_offsets: [0, 4] } }, 4, "the entry 'a' is malformed"],
    ['with a field more', { a: { ...entry(0, 4), code: 'x' } }, 4, "the entry 'a' is malformed"],
    ['of sizes beyond counting', { a: entry(0, 4, [2 ** 52, 2 ** 52]) }, 4, "'a' has the impossible shape"],
    ['whose texts are none', { __metadata__: { a: 1 } }, 0, '__metadata__'],
    ['whose header is a list', [], 0, 'its header is no object'],
    ['whose header is null', 'null', 0, 'its header is no object'],
    ['whose header is no JSON', '{"a":', 0, 'its header is no JSON'],
    ['whose header is no text', '{"\xff": 1}', 0, 'its header is no JSON'],
  ])('%s', (_, header, data, reason) => {
    expect(refusal(file(header, data))).toContain(reason);
  });

  it('of no elements, but sizes beyond counting', () => {
    expect(refusal(file({ a: entry(0, 0, [2 ** 52, 2 ** 52, 0]) }))).toContain("'a'");
  });

  it('whose header is longer than the file, or than any header', () => {
    expect(refusal(file({}, 0, 3n))).toContain('its header is said to have 3 bytes');
    expect(refusal(file({}, 0, 2n ** 63n))).toContain('its header is said to have');
  });

  it('that is too short, empty or missing', () => {
    writeFileSync(at('short.safetensors'), 'short');
    expect(refusal(at('short.safetensors'))).toContain('shorter than its header');
    writeFileSync(at('empty.safetensors'), '');
    expect(refusal(at('empty.safetensors'))).toContain('shorter than its header');
    expect(refusal(at('none.safetensors'))).toContain('no file');
  });

  it('wherever it is cut', () => {
    writeSafetensors(at('whole.safetensors'), new Map([['w', arange(0, 9, 1)]]));
    const whole = readFileSync(at('whole.safetensors'));
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(at('cut.safetensors'), whole.subarray(0, length));
      expect(refusal(at('cut.safetensors'))).toContain('cut.safetensors');
    }
  });
});
