/** Memory of large tensors: blocks are cut and joined, and no two live ones share any of it. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { empty, full, type Tensor } from '../../src/torch/index.js';

const MEGABYTE = 1 << 18; // float32 elements

/** Kilobytes of memory that stand behind this process at its largest. */
const peak = () => process.resourceUsage().maxRSS;

describe('large tensors', () => {
  it('keep what was written to them, whatever comes and goes', () => {
    const step = fc.record({
      quarters: fc.integer({ min: 2, max: 40 }), // of a megabyte
      victim: fc.nat(),
      free: fc.integer({ min: 0, max: 2 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 60 }), (steps) => {
        const live: { x: Tensor; value: number }[] = [];
        const check = ({ x, value }: { x: Tensor; value: number }) => {
          using lowest = x.min();
          using highest = x.max();
          expect([lowest.item(), highest.item()]).toEqual([value, value]);
        };
        try {
          for (const [i, { quarters, victim, free }] of steps.entries()) {
            live.push({ x: full([(quarters * MEGABYTE) / 4 + 3], i, { dtype: 'float32' }).keep(), value: i });
            for (let n = 0; n < free && live.length > 0; n++) {
              const [gone] = live.splice(victim % live.length, 1);
              check(gone);
              gone.x.dispose();
            }
          }
          for (const one of live) check(one);
        } finally {
          for (const { x } of live) x.dispose();
        }
      }),
      { seed: 4, numRuns: 10 },
    );
  });

  it('are served out of larger ones that were freed, and out of neighbours joined', () => {
    const round = (sizes: readonly number[]) => {
      const all = sizes.map((size) => full([size * MEGABYTE], 1, { dtype: 'float32' }).keep());
      for (const x of all) x.dispose();
    };
    round([64, 64, 64, 64]);
    const before = peak();
    for (let i = 0; i < 3; i++) {
      round([256]);
      round(Array.from({ length: 28 }, () => 9));
      round([100, 50, 100]);
    }
    expect((peak() - before) / 1024).toBeLessThan(64); // where each size had its own blocks, 250 more of each
  });

  it('that no machine can hold are an error', () => {
    expect(() => empty([2 ** 46])).toThrow(/out of memory|alloc/i);
  });
});
