/** Positions for another grid: bicubic, on every kind of device in the same way. */

import { describe, expect, it } from 'vitest';
import { resizePositions } from '../../../src/models/layers/position.js';
import { manualSeed, observeOperators, randn, scope, type Tensor } from '../../../src/torch/index.js';

type Grid = readonly [number, number];

/** Weights of Keys' cubic convolution (A = -0.75, as PyTorch's) of the four samples around `x`. */
function weights(x: number): number[] {
  const a = -0.75;
  const t = x - Math.floor(x);
  const near = (d: number) => ((a + 2) * d - (a + 3)) * d * d + 1;
  const far = (d: number) => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return [far(t + 1), near(t), near(1 - t), far(2 - t)];
}

/** One channel, sampled at (i + 0.5) / scale - 0.5 with the border repeated. */
function sampled(map: number[][], to: Grid, scale: Grid): number[][] {
  const line = (values: readonly number[], size: number, factor: number) =>
    Array.from({ length: size }, (_, i) => {
      const x = (i + 0.5) / factor - 0.5;
      const at = (k: number) => values[Math.min(values.length - 1, Math.max(0, Math.floor(x) - 1 + k))];
      return weights(x).reduce((sum, weight, k) => sum + weight * at(k), 0);
    });
  const wide = map.map((row) => line(row, to[1], scale[1]));
  const columns = Array.from({ length: to[1] }, (_, j) =>
    line(
      wide.map((row) => row[j]),
      to[0],
      scale[0],
    ),
  );
  return Array.from({ length: to[0] }, (_, i) => columns.map((column) => column[i]));
}

/** [1, rows*columns, 2] -> the map of each channel */
function channelsOf(positions: Tensor, [rows, columns]: Grid): number[][][] {
  const values = positions.toFloat32();
  return [0, 1].map((channel) =>
    Array.from({ length: rows }, (_, y) =>
      Array.from({ length: columns }, (_, x) => values[(y * columns + x) * 2 + channel]),
    ),
  );
}

const CASES: readonly (readonly [string, Grid, Grid, Grid | undefined])[] = [
  ['the same size in other steps', [5, 4], [5, 4], [1.06, 1.06]],
  ['the same size in steps of one', [3, 3], [3, 3], [1, 1]],
  ['one side the same', [5, 4], [5, 7], [1.02, 1.76]],
  ['larger', [4, 3], [7, 8], undefined],
  ['smaller', [6, 7], [3, 2], [0.51, 0.3]],
];

describe('resizePositions', () => {
  it.each(CASES)('samples a cubic: %s', (_, from, to, scale) => {
    scope(() => {
      manualSeed(7);
      const positions = randn([1, from[0] * from[1], 2]);
      const got = channelsOf(resizePositions(positions, from, to, scale), to);
      const steps = scale ?? ([to[0] / from[0], to[1] / from[1]] as const);
      const expected = channelsOf(positions, from).map((map) => sampled(map, to, steps));
      for (const [channel, map] of expected.entries())
        for (const [y, row] of map.entries())
          for (const [x, value] of row.entries()) expect(got[channel][y][x]).toBeCloseTo(value, 5);
    });
  });

  // CUDA's kernel copies then, whatever the scale is; a CPU alone would never show it.
  it('asks no kernel for the size that the map has', () => {
    const asked: number[][] = [];
    observeOperators(
      (op, values, shape) => {
        if (!op.name.includes('upsample')) return;
        const from = (values[0] as Tensor).shape.slice(2);
        expect(shape().slice(2)).not.toEqual(from);
        asked.push([...from]);
      },
      () => scope(() => void resizePositions(randn([1, 12, 2]), [3, 4], [3, 4], [1.05, 1.05])),
    );
    expect(asked).toEqual([[3, 4]]);
  });

  it('lets gradients of an unchanged size through as they are', () => {
    scope(() => {
      const positions = randn([1, 20, 2]);
      positions.requiresGrad = true;
      const factors = randn([1, 20, 2]);
      resizePositions(positions, [5, 4], [5, 4], [1.06, 1.06]).mul(factors).sumAll().backward();
      expect(positions.grad?.toFloat32()).toEqual(factors.toFloat32());
    });
  });
});
