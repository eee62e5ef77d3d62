/** `.npy` files: what is written is read again, by us and by numpy, and what is broken is refused. */

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { arange, type DType } from '../../src/torch/index.js';
import { NpyFile, npyHeader, readNpy, writeNpy } from '../../src/weights/index.js';
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
    expect(attempt('complex.npy', Buffer.concat([header('<c8'), Buffer.alloc(16)]))).toThrow(/c8/);
    const columns = Buffer.from(npyHeader([1, 2], 'float32'))
      .toString('latin1')
      .replace('False', 'True ');
    expect(attempt('columns.npy', Buffer.concat([Buffer.from(columns, 'latin1'), Buffer.alloc(8)]))).toThrow(
      /ascontiguousarray/,
    );
  });
});
