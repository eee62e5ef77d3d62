import { describe, expect, it } from 'vitest';
import { native } from '../../src/torch/binding.js';
import { empty, liveTensors, randn, scope, tensor } from '../../src/torch/index.js';

describe('scope', () => {
  it('frees what is not returned', () => {
    const before = liveTensors();
    const x = scope(() => {
      const a = tensor([1, 2]);
      const b = a.add(1);
      return b.mul(2);
    });
    expect(liveTensors()).toBe(before + 1);
    expect([...x.toFloat32()]).toEqual([4, 6]);
    x.dispose();
    expect(liveTensors()).toBe(before);
  });

  it('finds results in arrays, objects and maps, and hands them to the outer scope', () => {
    const before = liveTensors();
    scope(() => {
      const { list, map } = scope(() => ({
        list: [tensor([1]), [tensor([2])]],
        map: new Map([['a', tensor([3])]]),
      }));
      expect(liveTensors()).toBe(before + 3);
      expect(map.get('a')?.item()).toBe(3);
      expect(list).toHaveLength(2);
    });
    expect(liveTensors()).toBe(before);
  });

  it('frees also when the body throws', () => {
    const before = liveTensors();
    expect(() =>
      scope(() => {
        tensor([1]);
        throw new Error('stop');
      }),
    ).toThrow('stop');
    expect(liveTensors()).toBe(before);
  });

  it('leaves kept tensors and refuses async bodies', () => {
    const before = liveTensors();
    const kept = scope(() => {
      const t = tensor([1]).keep();
      return { get: () => t };
    }).get();
    expect(kept.item()).toBe(1);
    kept.dispose();
    expect(() => scope(async () => 1)).toThrow(/async/);
    expect(liveTensors()).toBe(before);
  });

  it('tells the garbage collector only of tensors that no scope frees', () => {
    const megabytes = () => native.chargedBytes() / 2 ** 20;
    const before = megabytes();
    const [escaped, kept] = scope(() => {
      const inside = Array.from({ length: 4 }, () => empty([2 ** 24]));
      expect(megabytes() - before).toBeLessThan(16);
      const forLater = inside[1].keep();
      expect(megabytes() - before).toBeGreaterThan(48);
      return [inside[0], forLater];
    });
    const open = empty([2 ** 24]);
    expect(megabytes() - before).toBeGreaterThan(3 * 64 - 16);
    for (const x of [escaped, kept, open]) x.dispose();
    expect(megabytes() - before).toBeLessThan(16);
  });

  it('works with using', () => {
    const before = liveTensors();
    {
      using x = tensor([1]);
      expect(x.item()).toBe(1);
    }
    expect(liveTensors()).toBe(before);
  });

  it('keeps memory flat over many large tensors', () => {
    scope(() => randn([512, 512]));
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 500; i++)
      scope(() => {
        randn([512, 512]).add(1);
      });
    expect(process.memoryUsage().rss - before).toBeLessThan(64e6);
  });
});
