/** Collectives and the exchange of gradients, between processes. */

import { afterEach, describe, expect, it } from 'vitest';
import { hasCollectives } from '../../src/dist/index.js';
import { onOne, onRanks, reap } from './ranks.js';

afterEach(reap);

interface Exchanged {
  found: number[][][];
  sent: number[];
}

describe.skipIf(!hasCollectives())('three ranks', () => {
  it('add, pick, spread, gather and scatter; at once or while other work goes on', async () => {
    const results = await onRanks<Record<string, unknown>>(3, 'collectives');
    for (const [rank, result] of results.entries())
      expect(result).toEqual({
        sum: [6, 30],
        max: [2, 0],
        from1: [1, 1],
        halves: [0.5, 2, 1.5, 2, 2.5, 2],
        scattered: [30 + 3 * rank, 3],
        wide: ['0', '1099511627776', '2199023255552'],
        isDone: true,
        values: [
          { rank: 0, text: '' },
          { rank: 1, text: 'ä' },
          { rank: 2, text: 'ää' },
        ],
        shared: 'of rank 0',
        rows: [1, 1, 1, 1, 2, 1, 2, 1, 2, 1, 2, 1],
        empty: [0, 3],
      });
  }, 240_000);
});

describe.skipIf(!hasCollectives())('gradients of two ranks', () => {
  const settings = { wire: 'float32', bucketBytes: 1, batches: 2, steps: 3 };

  it.each([
    ['in one bucket', { bucketBytes: 1 << 20 }, 1e-5],
    ['in a bucket for each parameter', {}, 1e-5],
    ['in bf16 on the wire', { wire: 'bfloat16', bucketBytes: 100 }, 1e-2],
  ])(
    'are those of the whole batch, added up over batches: %s',
    async (_name, change, tolerance) => {
      const argument = { ...settings, ...change };
      const [one, many] = await Promise.all([
        onOne<Exchanged>('gradients', argument),
        onRanks<Exchanged>(2, 'gradients', argument),
      ]);
      for (const { found } of many)
        for (const [step, gradients] of found.entries())
          for (const [i, gradient] of gradients.entries()) {
            const whole = one.found[step][i];
            expect(gradient.length, `step ${step}, parameter ${i}`).toBe(whole.length);
            const size = Math.max(1, ...whole.map(Math.abs));
            for (const [j, value] of gradient.entries())
              expect(Math.abs(value - whole[j]) / size).toBeLessThan(tolerance);
          }
      // a parameter that nobody used in a step has no gradient there; the others of 59 are sent once a step
      expect(many[0].found.map((gradients) => gradients[3].length)).toEqual([0, 4, 0]);
      const wire = argument.wire === 'bfloat16' ? 2 : 4;
      for (const bytes of many[0].sent) {
        expect(bytes).toBeGreaterThanOrEqual((35 + 5 + 15 + 4) * wire);
        expect(bytes).toBeLessThanOrEqual((35 + 5 + 15 + 4 + 8) * wire);
      }
    },
    240_000,
  );
});
