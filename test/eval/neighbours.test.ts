/** The blockwise search finds what a full sort of all similarities finds. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type FeatureRows, nearestRows, tensorRows } from '../../src/eval/index.js';
import { liveTensors, manualSeed, randn, scope, setThreads } from '../../src/torch/index.js';

setThreads(1);

const table = (rows: number, width: number, seed: number) => {
  manualSeed(seed);
  return randn([rows, width]);
};

describe('nearestRows', () => {
  it('is exact for any sizes: over one block, several blocks, groups and what fills none', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 8000, max: 20_000 })),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 210 }),
        fc.integer({ min: 0, max: 1000 }),
        (bankRows, queryRows, wanted, seed) =>
          scope(() => {
            const [bank, queries] = [table(bankRows, 3, seed), table(queryRows, 3, seed + 1)];
            const k = Math.min(wanted, bankRows);
            const { similarity, index } = nearestRows(tensorRows(bank), tensorRows(queries), k);
            const all = queries.matmul(bank.t());
            const [sorted] = all.sort(1, true);
            expect(similarity.shape).toEqual([queryRows, k]);
            expect(
              similarity
                .sub(sorted.narrow(1, 0, k))
                .abs()
                .max()
                .item(),
            ).toBeLessThan(1e-5);
            // Each index stands for its similarity, and none comes twice.
            const named = all.gather(1, index.to({ dtype: 'int64' }));
            expect(named.sub(similarity).abs().max().item()).toBeLessThan(1e-5);
            const numbers = Array.from(index.select(0, 0).toArray(), Number);
            expect(new Set(numbers).size).toBe(k);
          }),
      ),
      { numRuns: 60, seed: 4 },
    );
  });

  it('works through many queries in pieces', () => {
    scope(() => {
      const [bank, queries] = [table(50, 4, 1), table(1300, 4, 2)];
      const { index } = nearestRows(tensorRows(bank), tensorRows(queries), 1);
      const best = queries.matmul(bank.t()).argmax(1);
      expect(Array.from(index.flatten().toArray(), Number)).toEqual(Array.from(best.toArray(), Number));
    });
  });

  it('asks for rows in order, each block once, and leaves no tensors behind', () => {
    const bank = table(20_000, 2, 3);
    const asked: [number, number][] = [];
    const rows: FeatureRows = {
      count: 20_000,
      width: 2,
      rows: (start, count) => {
        asked.push([start, count]);
        return bank.narrow(0, start, count);
      },
    };
    const queries = table(3, 2, 4);
    const before = liveTensors();
    scope(() => {
      nearestRows(rows, tensorRows(queries), 5);
    });
    expect(liveTensors()).toBe(before);
    expect(asked.reduce((sum, [, count]) => sum + count, 0)).toBe(20_000);
    for (const [i, [start]] of asked.entries())
      expect(start).toBe(asked.slice(0, i).reduce((sum, [, count]) => sum + count, 0));
  });
});
