/** `.npy` files: what is written is read again, by us and by numpy, and what is broken is refused. */

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { zipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { arange, type DType, type Tensor, tensor, zeros } from '../../src/torch/index.js';
import {
  NpyFile,
  npyHeader,
  outlineNpz,
  readNpy,
  readNpz,
  writeNpy,
  writeNpz,
} from '../../src/weights/index.js';
import { temporaryFolder } from './folder.js';

const at = temporaryFolder();

const DTYPES: DType[] = ['float64', 'float32', 'float16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool'];
const some = (dtype: DType) => arange(0, 24, 1).view([4, 3, 2]).to({ dtype });

function hasNumpy(): boolean {
  try {
    execFileSync('python3', ['-c', 'import numpy'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe('round trips', () => {
  it.each(DTYPES)('of %s keep dtype, shape and elements', (dtype) => {
    const value = some(dtype);
    writeNpy(at(`${dtype}.npy`), value);
    const back = readNpy(at(`${dtype}.npy`));
    expect([back.dtype, back.shape]).toEqual([dtype, [4, 3, 2]]);
    expect(back.toArray()).toEqual(value.toArray());
  });

  it('of views write their own elements', () => {
    const value = some('float32').narrow(0, 1, 2).transpose(0, 2);
    writeNpy(at('view.npy'), value);
    expect(readNpy(at('view.npy')).toArray()).toEqual(value.toArray());
  });

  it('of one dimension and of no rows', () => {
    const line = arange(0, 5, 1).to({ dtype: 'int64' });
    writeNpy(at('line.npy'), line);
    expect(readNpy(at('line.npy')).toArray()).toEqual(line.toArray());
    writeNpy(at('none.npy'), line.narrow(0, 0, 0).view([0, 7]));
    expect(readNpy(at('none.npy')).shape).toEqual([0, 7]);
  });

  it.skipIf(!hasNumpy())('are what numpy reads and writes (needs python3 with numpy)', () => {
    for (const dtype of DTYPES) writeNpy(at(`${dtype}.npy`), some(dtype));
    const program = `
import sys, numpy as np
for name in sys.argv[2:]:
    a = np.load(f"{sys.argv[1]}/{name}.npy")
    want = np.arange(24).reshape(4, 3, 2).astype(name)
    assert a.dtype == want.dtype and (a == want).all(), name
    np.save(f"{sys.argv[1]}/{name}.back.npy", want)
`;
    const folder = at('').replace(/\/$/, '');
    execFileSync('python3', ['-c', program, folder, ...DTYPES]);
    for (const dtype of DTYPES)
      expect(readNpy(at(`${dtype}.back.npy`)).toArray()).toEqual(some(dtype).toArray());
  });
});

it('rows are read without the rest', () => {
  writeNpy(at('rows.npy'), some('int32'));
  const file = new NpyFile(at('rows.npy'));
  expect(Array.from(file.rows(2, 2).toArray(), Number)).toEqual([...Array(12).keys()].map((i) => i + 12));
  file.close();
});

describe('refused is', () => {
  const attempt = (name: string, bytes: Uint8Array | string) => {
    writeFileSync(at(name), bytes);
    return () => readNpy(at(name));
  };
  const header = (text: string) =>
    Buffer.from(
      Buffer.from(npyHeader([2], 'float32'))
        .toString('latin1')
        .replace(/<f4/, text),
      'latin1',
    );

  it('what does not begin as an array', () => {
    expect(attempt('text.npy', 'a,b\n1,2 and so on')).toThrow(UserError);
    expect(attempt('empty.npy', '')).toThrow(/not a sound \.npy file/);
  });

  it('a cut or too long file', () => {
    writeNpy(at('whole.npy'), some('float32'));
    const whole = readFileSync(at('whole.npy'));
    expect(attempt('cut.npy', whole.subarray(0, whole.length - 1))).toThrow(/expected/);
    expect(attempt('long.npy', Buffer.concat([whole, whole]))).toThrow(/expected/);
  });

  it('another byte order, another type, another order of the elements', () => {
    expect(attempt('big.npy', Buffer.concat([header('>f4'), Buffer.alloc(8)]))).toThrow(/>f4/);
    expect(attempt('void.npy', Buffer.concat([header('|V4'), Buffer.alloc(8)]))).toThrow(/V4/);
    expect(attempt('objects.npy', Buffer.concat([header('|O '), Buffer.alloc(8)]))).toThrow(/O/);
    writeFileSync(at('columns.npy'), Buffer.concat([columns([1, 2]), Buffer.alloc(8)]));
    expect(() => new NpyFile(at('columns.npy'))).toThrow(/ascontiguousarray/);
  });

  it('a shape that no array has', () => {
    const shaped = (text: string) =>
      Buffer.from(
        Buffer.from(npyHeader([22, 22], 'float32'))
          .toString('latin1')
          .replace(/\(22, ?22,?\)/, (found) => text.padEnd(found.length)),
        'latin1',
      );
    expect(attempt('negative.npy', Buffer.concat([shaped('(-1,-4)'), Buffer.alloc(16)]))).toThrow(
      /impossible/,
    );
    expect(attempt('half.npy', Buffer.concat([shaped('(0.5,4)'), Buffer.alloc(8)]))).toThrow(/impossible/);
    expect(attempt('text.npy', Buffer.concat([shaped('(abc,4)'), Buffer.alloc(8)]))).toThrow(/impossible/);
  });
});

/** The head of an array that is stored column by column. */
function columns(shape: number[]): Buffer {
  const text = Buffer.from(npyHeader(shape, 'float32')).toString('latin1');
  return Buffer.from(text.replace('False', 'True '), 'latin1');
}

it('arrays that are stored column by column are turned', () => {
  const elements = Buffer.from(Float32Array.of(0, 3, 1, 4, 2, 5).buffer);
  writeFileSync(at('turned.npy'), Buffer.concat([columns([2, 3]), elements]));
  const turned = readNpy(at('turned.npy'));
  expect([turned.shape, turned.strides, [...turned.toFloat32()]]).toEqual([
    [2, 3],
    [3, 1],
    [0, 1, 2, 3, 4, 5],
  ]);
});

it('a single number is an array without dimensions', () => {
  writeNpy(at('number.npy'), tensor(2.5));
  expect(readNpy(at('number.npy')).shape).toEqual([]);
  expect(readNpy(at('number.npy')).item()).toBe(2.5);
});

describe('.npz files', () => {
  const all = () =>
    new Map<string, Tensor>([
      ...DTYPES.map((dtype) => [dtype, some(dtype)] as const),
      ['weiß 🦊', tensor(3)],
      ['none', zeros([0, 2])],
    ]);

  it('keep names, dtypes, shapes and elements', () => {
    writeNpz(at('all.npz'), all());
    const back = readNpz(at('all.npz'));
    expect([...back.keys()]).toEqual([...all().keys()]);
    for (const [name, value] of all()) {
      const own = back.get(name) as Tensor;
      expect([own.dtype, own.shape, own.toArray()]).toEqual([value.dtype, value.shape, value.toArray()]);
    }
    expect(outlineNpz(at('all.npz')).heads.get('float16')).toMatchObject({
      dtype: 'float16',
      shape: [4, 3, 2],
    });
  });

  it('are read deflated too', () => {
    const npy = Buffer.concat([npyHeader([2], 'float32'), Buffer.from(Float32Array.of(1, 2).buffer)]);
    writeFileSync(at('deflated.npz'), zipSync({ 'a.npy': Uint8Array.from(npy) }, { level: 9 }));
    expect([...(readNpz(at('deflated.npz')).get('a') as Tensor).toFloat32()]).toEqual([1, 2]);
  });

  it('that hold something else are refused', () => {
    writeFileSync(at('other.npz'), zipSync({ 'run.py': Buffer.from('print()') }));
    expect(() => readNpz(at('other.npz'))).toThrow(/holds run\.py/);
    writeFileSync(at('half.npz'), zipSync({ 'a.npy': npyHeader([2], 'float32') }));
    expect(() => readNpz(at('half.npz'))).toThrow(/a\.npy in .*half\.npz is not a sound/);
  });

  it.skipIf(!hasNumpy())('are what numpy reads and writes (needs python3 with numpy)', () => {
    writeNpz(at('ours.npz'), all());
    const program = `
import sys, numpy as np
a = np.load(sys.argv[1] + "/ours.npz")
assert a["float32"].shape == (4, 3, 2) and (a["int64"].ravel() == np.arange(24)).all()
assert a["weiß 🦊"] == 3 and a["none"].shape == (0, 2)
np.savez_compressed(sys.argv[1] + "/theirs.npz", x=np.asfortranarray(np.arange(6, dtype="u2").reshape(2, 3)), z=np.array([1 + 2j], "c8"))
`;
    execFileSync('python3', ['-c', program, at('').replace(/\/$/, '')]);
    const theirs = readNpz(at('theirs.npz'));
    expect([...(theirs.get('x') as Tensor).toArray()]).toEqual([0, 1, 2, 3, 4, 5]);
    expect(theirs.get('z')?.dtype).toBe('complex64');
  });
});
