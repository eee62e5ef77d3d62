import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import {
  addonPath,
  type DType,
  enableGrad,
  fromBuffer,
  grad,
  inferenceMode,
  manualSeed,
  noGrad,
  randn,
  rngState,
  setRngState,
  tensor,
  zeros,
} from '../../src/torch/index.js';

describe('data in and out', () => {
  it.each<DType>(['float32', 'float64', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8'])(
    'goes through %s unchanged',
    (dtype) => {
      const x = tensor([1, 2, 100], { dtype });
      expect(x.dtype).toBe(dtype);
      expect(Array.from(x.toArray() as ArrayLike<number | bigint>, Number)).toEqual([1, 2, 100]);
    },
  );

  it('reads bool as bytes', () => {
    expect([...(tensor([1, 5]).gt(2).toArray() as Uint8Array)]).toEqual([0, 1]);
  });

  it('refuses ragged arrays and shapes that do not fit', () => {
    expect(() => tensor([[1, 2], [3]])).toThrow(/ragged/);
    expect(() => tensor(new Float32Array(3), { shape: [2, 2] })).toThrow(/12 bytes, the shape needs 16/);
  });

  it('shares memory with a SharedArrayBuffer, both ways', () => {
    const memory = new SharedArrayBuffer(16);
    const x = fromBuffer(memory, { shape: [2], dtype: 'float32', byteOffset: 8 });
    new Float32Array(memory)[2] = 5;
    expect([...x.toFloat32()]).toEqual([5, 0]);
    x.add_(1);
    expect([...new Float32Array(memory)]).toEqual([0, 0, 6, 1]);
  });

  it('reads a view in row-major order', () => {
    const x = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect([...x.t().toFloat32()]).toEqual([1, 3, 2, 4]);
    expect(x.t().storage.identity).toBe(x.storage.identity);
  });

  it('checks the rank when it is destructured', () => {
    expect(zeros([2, 3]).sizes(2)).toEqual([2, 3]);
    expect(() => zeros([2, 3]).sizes(4)).toThrow(/expected a tensor of 4 dimensions, received \[2, 3\]/);
  });
});

describe('autograd', () => {
  it('gives gradients of leaves', () => {
    const w = tensor([1, 2, 3]);
    w.requiresGrad = true;
    w.square().sumAll().backward();
    expect([...(w.grad?.toFloat32() ?? [])]).toEqual([2, 4, 6]);
    w.square().sumAll().backward();
    expect([...(w.grad?.toFloat32() ?? [])]).toEqual([4, 8, 12]);
    w.grad = null;
    expect(w.grad).toBeNull();
  });

  it('gives gradients as values', () => {
    const w = tensor([3]);
    const unused = tensor([1]);
    w.requiresGrad = true;
    unused.requiresGrad = true;
    const [dw, none] = grad([w.mul(w).sumAll()], [w, unused]);
    expect(dw?.item()).toBe(6);
    expect(none).toBeNull();
  });

  it('records nothing in noGrad and inference mode', () => {
    const w = tensor([1]);
    w.requiresGrad = true;
    expect(noGrad(() => w.mul(2)).requiresGrad).toBe(false);
    expect(inferenceMode(() => w.mul(2)).requiresGrad).toBe(false);
    expect(noGrad(() => enableGrad(() => w.mul(2))).requiresGrad).toBe(true);
    expect(() =>
      noGrad(() => {
        throw new Error('x');
      }),
    ).toThrow('x');
    expect(w.mul(2).requiresGrad).toBe(true);
  });
});

describe('random numbers', () => {
  it('repeat from a seed and from a saved state', () => {
    manualSeed(5);
    const state = rngState().keep();
    const first = randn([4]).toFloat32();
    setRngState(state);
    expect(randn([4]).toFloat32()).toEqual(first);
    manualSeed(5);
    expect(randn([4]).toFloat32()).toEqual(first);
  });
});

describe('worker threads', () => {
  it('load the addon, each with its own tensors', async () => {
    const source = `
      const { parentPort } = require('node:worker_threads');
      const native = require(${JSON.stringify(addonPath)});
      const handle = native.fromMemory(new Float32Array([1, 2]), [2], 'float32');
      parentPort.postMessage([handle, native.liveTensors()]);`;
    const workers = [1, 2].map(() => new Worker(source, { eval: true }));
    const answers = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
    expect(answers).toEqual([
      [1, 1],
      [1, 1],
    ]);
    await Promise.all(workers.map((worker) => worker.terminate()));
  });
});
