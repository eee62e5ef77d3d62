import { describe, expect, it } from 'vitest';
import { epochOrder, iterationsPerEpoch, RandomStream } from '../../src/data/index.js';

describe('random streams', () => {
  it('repeat for the same key and differ in every part of it', () => {
    const draw = (...key: [number, number, number, number]) => {
      const random = new RandomStream().key(...key);
      return [random.bits(), random.bits(), random.bits()].join();
    };
    expect(draw(1, 2, 3, 4)).toBe(draw(1, 2, 3, 4));
    const keys: [number, number, number, number][] = [
      [1, 2, 3, 4],
      [2, 2, 3, 4],
      [1 + 2 ** 32, 2, 3, 4],
      [1, 3, 3, 4],
      [1, 2, 4, 4],
      [1, 2, 3, 5],
      [0, 0, 0, 0],
      [2, 1, 3, 4],
    ];
    expect(new Set(keys.map((key) => draw(...key))).size).toBe(keys.length);
  });

  it('stay the same over releases', () => {
    const random = new RandomStream().key(7, 1, 42, 16);
    expect([random.bits(), random.bits(), random.integer(1000)]).toMatchInlineSnapshot(`
      [
        3138096901,
        2042731563,
        622,
      ]
    `);
  });

  it('are uniform across keys, not only along a stream', () => {
    const n = 40_000;
    const counts = new Array<number>(16).fill(0);
    let normalSum = 0;
    let normalSquares = 0;
    const random = new RandomStream();
    for (let index = 0; index < n; index++) {
      random.key(5, 0, index, 16);
      counts[random.integer(16)]++;
      const x = random.normal();
      normalSum += x;
      normalSquares += x * x;
    }
    const chi2 = counts.reduce((sum, count) => sum + (count - n / 16) ** 2 / (n / 16), 0);
    expect(chi2).toBeLessThan(45); // 15 degrees of freedom, p < 1e-4 above
    expect(Math.abs(normalSum / n)).toBeLessThan(0.025);
    expect(Math.abs(normalSquares / n - 1)).toBeLessThan(0.04);
  });
});

describe('the sampler', () => {
  it('deals all pictures to the ranks, filled up from the beginning of the order', () => {
    const share = { seed: 3, epoch: 1, world: 4 };
    const whole = epochOrder(10, { seed: 3, epoch: 1, rank: 0, world: 1 });
    expect([...whole].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const ranks = [0, 1, 2, 3].map((rank) => epochOrder(10, { ...share, rank }));
    expect(ranks.map((order) => order.length)).toEqual([3, 3, 3, 3]);
    const padded = [...whole, whole[0], whole[1]];
    ranks.forEach((order, rank) => {
      expect([...order]).toEqual(padded.filter((_, i) => i % 4 === rank));
    });
  });

  it('repeats the order where there are fewer pictures than ranks', () => {
    const orders = [0, 1, 2, 3, 4].map((rank) => [
      ...epochOrder(2, { seed: 0, epoch: 0, rank, world: 5, shuffle: false }),
    ]);
    expect(orders).toEqual([[0], [1], [0], [1], [0]]);
  });

  it('shuffles anew each epoch and keeps the order where asked', () => {
    const order = (epoch: number) => epochOrder(50, { seed: 0, epoch, rank: 0, world: 1 }).join();
    expect(order(0)).not.toBe(order(1));
    expect(order(1)).toBe(order(1));
    expect([...epochOrder(4, { seed: 0, epoch: 9, rank: 0, world: 1, shuffle: false })]).toEqual([
      0, 1, 2, 3,
    ]);
  });

  it('counts batches', () => {
    expect([iterationsPerEpoch(10, 4), iterationsPerEpoch(10, 4, true), iterationsPerEpoch(3, 4)]).toEqual([
      2, 3, 0,
    ]);
  });
});
