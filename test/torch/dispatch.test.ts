import { describe, expect, it } from 'vitest';
import {
  arange,
  autocast,
  call,
  cat,
  conv2d,
  empty,
  full,
  hasOperator,
  newGenerator,
  normal,
  operator,
  rand,
  tensor,
  where,
  zeros,
} from '../../src/torch/index.js';

describe('arguments by schema', () => {
  const x = tensor([
    [1, 2, 3],
    [4, 5, 6],
  ]).keep();

  it('takes tensors, numbers in place of tensors, and keyword options', () => {
    expect([...x.add(x, { alpha: 2 }).toFloat32()]).toEqual([3, 6, 9, 12, 15, 18]);
    expect([...x.mul(0.5).toFloat32()]).toEqual([0.5, 1, 1.5, 2, 2.5, 3]);
  });

  it('keeps the dtype of whole-number tensors under whole numbers, as Python does', () => {
    expect(tensor(new BigInt64Array([1n])).mul(2).dtype).toBe('int64');
    expect(tensor(new BigInt64Array([1n])).mul(2.5).dtype).toBe('float32');
  });

  it('takes int[], one number for int[2], and several returns', () => {
    const image = zeros([1, 1, 4, 4]);
    expect(conv2d(image, zeros([1, 1, 3, 3]), null, 1, 1).shape).toEqual([1, 1, 4, 4]);
    const [values, indices] = x.topk(2, 1);
    expect([...values.toFloat32()]).toEqual([3, 2, 6, 5]);
    expect([...(indices.toArray() as BigInt64Array)]).toEqual([2n, 1n, 2n, 1n]);
  });

  it('takes Tensor[], Tensor?[], Tensor?', () => {
    expect(cat([x, x], 1).shape).toEqual([2, 6]);
    expect([...x.index([null, tensor(new BigInt64Array([2n]))]).toFloat32()]).toEqual([3, 6]);
    expect([...x.clamp(2, null).toFloat32()]).toEqual([2, 2, 3, 4, 5, 6]);
  });

  it('takes dtype, device, memory format, generator, string and bool', () => {
    expect(empty([2], { dtype: 'int32', device: 'cpu' }).dtype).toBe('int32');
    expect(zeros([1, 2, 3, 3]).contiguous({ memoryFormat: 'channels_last' }).strides).toEqual([18, 1, 6, 2]);
    const draw = () => [...normal(0, 1, [3], { generator: newGenerator(7) }).toFloat32()];
    expect(draw()).toEqual(draw());
    expect(x.sum([1], true).shape).toEqual([2, 1]);
    expect(x.gelu({ approximate: 'tanh' }).shape).toEqual([2, 3]);
  });

  it('takes exact 64-bit integers and refuses inexact ones', () => {
    const large = 9007199254740993n;
    expect(full([1], large, { dtype: 'int64' }).scalar()).toBe(large);
    expect(() => full([1], large, { dtype: 'int64' }).item()).toThrow(/too large for a number/);
    expect(() => x.narrow(0, 0.5, 1)).toThrow(/expected an exact integer, received 0.5/);
    expect(() => x.narrow(0, 2 ** 60, 1)).toThrow(/expected an exact integer/);
    expect(() => full([1], 2n ** 80n, { dtype: 'int64' })).toThrow(/does not fit 64 bits/);
  });

  it('works in place and returns the same object', () => {
    const y = x.clone();
    expect(y.add_(1).mul_(2)).toBe(y);
    expect([...y.toFloat32()]).toEqual([4, 6, 8, 10, 12, 14]);
  });

  it('writes into an out argument', () => {
    const out = empty([2, 3]);
    const addOut = operator('aten::add', 'out', ['self', 'other', 'alpha', 'out']);
    call(addOut, x, x, 1, out);
    expect([...out.toFloat32()]).toEqual([2, 4, 6, 8, 10, 12]);
  });

  it('has no limit on rank', () => {
    const deep = x.view([1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 3]);
    expect(deep.shape).toHaveLength(11);
    expect(deep.permute([10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]).shape[0]).toBe(3);
  });

  it('knows which operators this libtorch lacks', () => {
    const unknown = operator('aten::no_such_operator', '', []);
    expect(hasOperator(unknown)).toBe(false);
    expect(() => call(unknown)).toThrow(/has no operator aten::no_such_operator/);
  });

  it('runs matrix products in bfloat16 under autocast, and only there', () => {
    const inside = autocast({ device: 'cpu', dtype: 'bfloat16' }, () => x.matmul(x.t()).dtype);
    expect(inside).toBe('bfloat16');
    expect(x.matmul(x.t()).dtype).toBe('float32');
  });
});

describe('errors', () => {
  it('name the operator, the argument shapes and where it was called', () => {
    let error: Error | undefined;
    try {
      tensor([[1, 2, 3]]).matmul(zeros([2, 2]));
    } catch (thrown) {
      error = thrown as Error;
    }
    expect(error?.message).toMatch(/aten::matmul\(float32\[1x3\], float32\[2x2\]\): mat1 and mat2/);
    expect(error?.stack).toContain('dispatch.test.ts');
  });

  it('name the argument that does not fit its schema', () => {
    expect(() => where(tensor([1]).gt(0), 'x' as unknown as number, 1)).toThrow(/argument 'self'.*Tensor/);
    expect(() => rand(undefined as unknown as number[])).toThrow(/argument 'size' is missing/);
    expect(() => tensor([1]).to({ dtype: 'float128' as 'float32' })).toThrow(/unknown dtype 'float128'/);
  });

  it('tell of a tensor that was freed', () => {
    const x = arange(0, 3);
    x.dispose();
    expect(() => x.add(1)).toThrow(/already freed/);
    expect(() => x.shape).toThrow(/already freed/);
  });
});
