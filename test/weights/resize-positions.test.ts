/** Positions of another window or picture size. */

import { describe, expect, it } from 'vitest';
import { Module, Parameter } from '../../src/nn/index.js';
import { cat, full, randn, type Tensor, tensor, zeros } from '../../src/torch/index.js';
import { describeReport, loadWeights, resizePositionsTo } from '../../src/weights/index.js';

const TABLE = 'layers.0.blocks.0.attn.relative_position_bias_table';
const values = (x: Tensor | undefined) => Array.from(x?.toFloat32() ?? []);
const column = (x: Tensor, i: number) => values(x.select(1, i).contiguous());

describe('a table of relative positions', () => {
  it('is resampled from window to window, each head for itself', () => {
    const table = randn([13 * 13, 3]);
    const resized = resizePositionsTo(TABLE, table, [27 * 27, 3]) as Tensor;
    expect(resized.shape).toEqual([27 * 27, 3]);
    for (let head = 0; head < 3; head++) {
      const alone = resizePositionsTo(TABLE, table.narrow(1, head, 1), [27 * 27, 1]) as Tensor;
      expect(column(resized, head)).toEqual(values(alone));
    }
    // Relative position 0 is the centre of both, and stays in its place.
    const centre = [resized, table].map((x) => values(x.select(0, (x.shape[0] - 1) / 2).contiguous()));
    for (const [i, value] of centre[0].entries()) expect(value).toBeCloseTo(centre[1][i], 5);
  });

  it('of one value keeps it, and symmetries stay', () => {
    expect(
      values(resizePositionsTo(TABLE, full([49, 1], 0.3), [25, 1])).every((x) => Math.abs(x - 0.3) < 1e-6),
    ).toBe(true);
    const half = randn([24, 1]);
    const symmetric = cat([half, tensor([[1]]), half.flip([0])]); // 7 x 7, the same seen from both ends
    const resized = values(resizePositionsTo(TABLE, symmetric, [169, 1]));
    for (const [i, value] of resized.entries()) expect(value).toBeCloseTo(resized[168 - i], 5);
  });
});

describe('an embedding of positions', () => {
  it('keeps its class token and resamples the rest', () => {
    const embedding = cat([full([1, 1, 2], 9), full([1, 16, 2], 0.5)], 1);
    const resized = values(resizePositionsTo('pos_embed', embedding, [1, 1 + 25, 2]));
    expect(resized.slice(0, 2)).toEqual([9, 9]);
    expect(resized.slice(2).every((x) => Math.abs(x - 0.5) < 1e-6)).toBe(true);
    expect(resized).toHaveLength(52);
  });

  it('of one axis follows the cubic kernel of PyTorch', () => {
    const line = tensor([[0, 0, 0, 0, 1, 0, 0, 0]]).view([1, 8, 1]);
    const resized = values(resizePositionsTo('layer1.0.x_pos_embed', line, [1, 16, 1]));
    // a = -0.75, at distances of 1.75, 1.25, 0.75 and 0.25 of a peak
    const side = [-0.03515625, -0.10546875, 0.26171875, 0.87890625];
    const expected = [...Array(5).fill(0), ...side, ...side.toReversed(), ...Array(3).fill(0)];
    for (const [i, value] of expected.entries()) expect(resized[i], `at ${i}`).toBeCloseTo(value, 6);
  });
});

describe('nothing else', () => {
  it.each<[string, number[], number[]]>([
    ['norm.weight', [49], [169]],
    [TABLE, [169, 3], [729, 6]],
    [TABLE, [170, 3], [169, 3]],
    ['pos_embed', [1, 197, 8], [1, 197, 16]],
    ['pos_embed', [1, 7, 8], [1, 50, 8]],
    ['layer1.0.cls_pos_embed', [1, 1, 8], [1, 4, 8]],
    ['layer1.0.cls_pos_embed', [1, 0, 8], [1, 1, 8]],
  ])('is resampled: %s %s to %s', (name, from, to) => {
    expect(resizePositionsTo(name, zeros(from), to)).toBeUndefined();
  });
});

class Positions extends Module {
  readonly relativePositionBiasTable = new Parameter(zeros([9, 2]));
  readonly weight = new Parameter(zeros([2]));
}

it('the report says what was resampled', () => {
  const module = new Positions();
  const state = new Map([
    ['relative_position_bias_table', full([25, 2], 0.5, { dtype: 'float16' })],
    ['weight', full([2], 1)],
  ]);
  const report = loadWeights(module, state, 'file.pth');
  expect(describeReport(report)).toBe(
    '2 tensors used, 1 resampled to this size, bicubic (relative_position_bias_table [25, 2], expected [9, 2])',
  );
  for (const value of values(module.relativePositionBiasTable.detach())) expect(value).toBeCloseTo(0.5, 5);
});
