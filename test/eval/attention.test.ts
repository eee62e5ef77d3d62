/** Attention of one query, entropies and masks, on maps whose answers are known. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  entropyBits,
  headEntropies,
  headsByEntropy,
  massMask,
  queryAttention,
} from '../../src/eval/index.js';
import { type AttentionMap, buildBackbone } from '../../src/models/index.js';
import { inferenceMode, randn, tensor } from '../../src/torch/index.js';

/** Every token of every window looks at the token that `target` names. */
function windowsThatLook(
  [rows, columns]: [number, number],
  side: number,
  shift: number,
  target: (i: number) => number,
): AttentionMap {
  const windows = Math.ceil(rows / side) * Math.ceil(columns / side);
  const length = side * side;
  const p = new Float32Array(windows * length * length);
  for (let w = 0; w < windows; w++)
    for (let i = 0; i < length; i++) p[(w * length + i) * length + target(i)] = 1;
  const probabilities = tensor(p, { shape: [windows, 1, length, length] });
  return { block: 0, stage: 0, probabilities, grid: [rows, columns], windowSize: side, shift };
}

describe('the attention of one region', () => {
  it('lands where the window says, whatever the padding and the shift', () => {
    const cases = fc.record({
      rows: fc.integer({ min: 2, max: 9 }),
      columns: fc.integer({ min: 2, max: 9 }),
      side: fc.integer({ min: 2, max: 4 }),
      shifted: fc.boolean(),
      x: fc.double({ min: 0, max: 0.999, noNaN: true }),
      y: fc.double({ min: 0, max: 0.999, noNaN: true }),
    });
    fc.assert(
      fc.property(cases, ({ rows, columns, side, shifted, x, y }) => {
        const shift = shifted ? Math.floor(side / 2) : 0;
        const map = windowsThatLook([rows, columns], side, shift, (i) => i);
        const found = queryAttention(map, [x, y]);
        const at = Math.floor(y * rows) * columns + Math.floor(x * columns);
        expect(
          Array.from(found?.heads[0] ?? [])
            .map((v, i) => (v > 0 ? i : -1))
            .filter((i) => i >= 0),
        ).toEqual([at]);
      }),
      { seed: 1, numRuns: 60 },
    );
  });

  it('reaches the neighbour inside the same window', () => {
    // Windows of 2 x 2, shifted by one: columns 1 and 2 share a window.
    const map = windowsThatLook([4, 4], 2, 1, (i) => i ^ 1);
    const found = queryAttention(map, [1.5 / 4, 1.5 / 4]);
    expect(found?.query).toEqual([1, 1]);
    expect(found?.heads[0].indexOf(1)).toBe(1 * 4 + 2);
  });

  it('is a row of the probabilities where attention is global, without the class token', () => {
    const backbone = buildBackbone({ arch: 'deit_tiny', imgSize: 32 }).eval();
    const [first] = inferenceMode(() => backbone.attentionMaps(randn([1, 3, 32, 32])));
    const p = first.probabilities.toFloat32();
    const [, heads, length] = first.probabilities.shape;
    const own = queryAttention(first, [0.9, 0.1]);
    const ofClass = queryAttention(first, 'class');
    expect(first.grid).toEqual([2, 2]);
    for (let head = 0; head < heads; head++) {
      const row = (i: number) =>
        Array.from(p.subarray((head * length + i) * length, (head * length + i + 1) * length));
      expect(Array.from(own?.heads[head] ?? [])).toEqual(row(1 + 1).slice(1));
      expect(Array.from(ofClass?.heads[head] ?? [])).toEqual(row(0).slice(1));
    }
  });

  it('does not exist for a class token that is not there', () => {
    expect(
      queryAttention(
        windowsThatLook([4, 4], 2, 0, (i) => i),
        'class',
      ),
    ).toBeUndefined();
  });
});

describe('entropy', () => {
  it('is the logarithm of the number of regions looked at alike', () => {
    const p = tensor(Float32Array.of(0.25, 0.25, 0.25, 0.25, 1, 0, 0, 0), { shape: [2, 4] });
    expect(Array.from(entropyBits(p).toFloat32(), Math.abs)).toEqual([2, 0]);
    expect(Array.from(headEntropies(windowsThatLook([4, 4], 2, 0, (i) => i)), Math.abs)).toEqual([0]);
  });

  it('orders heads from the most to the least spread out', () => {
    expect(
      headsByEntropy([Float32Array.of(1, 0), Float32Array.of(0.5, 0.5), Float32Array.of(0.9, 0.1)]),
    ).toEqual([1, 2, 0]);
  });
});

describe('masks', () => {
  it('hold at least the share asked for, with the largest regions and none to spare', () => {
    const shares = fc.array(fc.double({ min: 0.01, max: 1, noNaN: true }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(shares, fc.double({ min: 0.05, max: 0.95, noNaN: true }), (raw, share) => {
        const values = Float32Array.from(raw);
        const mask = massMask(values, share);
        const sum = (keep: (i: number) => boolean) =>
          values.reduce((total, value, i) => total + (keep(i) ? value : 0), 0);
        const total = sum(() => true);
        const kept = [...values.keys()].filter((i) => mask[i] === 1);
        const dropped = [...values.keys()].filter((i) => mask[i] === 0);
        expect(sum((i) => mask[i] === 1) / total).toBeGreaterThan(share - 1e-5);
        const least = Math.min(...kept.map((i) => values[i]));
        for (const i of dropped) expect(values[i]).toBeLessThanOrEqual(least);
        expect((sum((i) => mask[i] === 1) - least) / total).toBeLessThan(share + 1e-5);
      }),
      { seed: 2, numRuns: 200 },
    );
  });
});
