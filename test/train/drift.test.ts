/** Ranks whose weights are no longer the same are found, whatever the change; rounding is no change. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { alone, type Collectives } from '../../src/dist/index.js';
import { Module, Parameter } from '../../src/nn/index.js';
import { manualSeed, noGrad, randn, scope, stack, type Tensor } from '../../src/torch/index.js';
import { type Drift, findDrift, oddOne } from '../../src/train/drift.js';

/** Many pieces with a rest, one with a rest, and less than one. */
const SHAPES = { large: [700, 600], middle: [3, 1400], small: [7] };
type Name = keyof typeof SHAPES;

class Weights extends Module {
  readonly large = new Parameter(drawn(SHAPES.large));
  readonly middle = new Parameter(drawn(SHAPES.middle));
  readonly small = new Parameter(drawn(SHAPES.small));
}

const drawn = (shape: readonly number[]) => scope(() => randn(shape).mul(0.02));

function weights(of?: Name, by?: (weight: Tensor) => Tensor): Weights {
  manualSeed(5);
  const all = new Weights();
  if (of !== undefined && by !== undefined) noGrad(() => scope(() => all[of].copy_(by(all[of]))));
  return all;
}

/** What ranks with these weights find. */
function drift(ranks: readonly Module[]): Drift | undefined {
  return scope(() => {
    const figures: Tensor[] = [];
    const collect: Collectives = {
      ...alone,
      allGather(x) {
        figures.push(x.clone().keep());
        return x.unsqueeze(0);
      },
    };
    for (const student of ranks) findDrift(collect, { student });
    const together = { ...alone, worldSize: ranks.length, allGather: () => stack(figures) };
    const found = findDrift(together, { student: ranks[0] });
    for (const one of figures) one.dispose();
    return found;
  });
}

describe('weights', () => {
  const same = weights();

  it.each<[string, (weight: Tensor) => Tensor]>([
    ['other signs, which leave the length as it is', (weight) => weight.neg()],
    ['another order', (weight) => weight.flip([0])],
    ['other random numbers', ({ shape }) => randn(shape).mul(0.02)],
    ['no numbers', (weight) => weight.div(0)],
    ['a small shift', (weight) => weight.add(2e-3)],
  ])('with %s are found, with the rank and the tensor', (_name, by) => {
    for (const of of ['large', 'middle', 'small'] as const) {
      const other = weights(of, by);
      const tensor = `student ${of}`;
      expect(drift([same, same, other])).toMatchObject({ rank: 2, tensor });
      expect(drift([other, same, same, same])).toMatchObject({ rank: 0, tensor });
      expect(drift([same, other])).toMatchObject({ rank: 1, tensor });
    }
  });

  it('that differ by rounding, or are as bad on all ranks, have not come apart', () => {
    const rounded = weights('large', (weight) => weight.mul(1 + 1e-6).add(1e-9));
    expect(drift([same, rounded, same])).toBeUndefined();
    const bad = weights('middle', (weight) => weight.div(0));
    expect(drift([bad, bad])).toBeUndefined();
  });

  it('of any one rank among many are told from the others', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 9 }),
        fc.nat(),
        fc.nat(4),
        fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, 0, 2.01, -2),
        (world, number, item, wrong) => {
          const rank = number % world;
          const ranks = Array.from({ length: world }, () => new Float32Array(10).fill(2));
          ranks[rank][2 * item + 1] = wrong;
          expect(oddOne(ranks)).toMatchObject({ rank, item });
        },
      ),
      { seed: 3 },
    );
    expect(oddOne([new Float32Array(4), new Float32Array(4)])).toBeUndefined();
  });
});
