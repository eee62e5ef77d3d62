import { describe, expect, it } from 'vitest';
import {
  describeScene,
  OBJECT_CLASSES,
  otherView,
  pixelMap,
  plainView,
  renderScene,
  sceneSvg,
} from '../../src/data/scenes/index.js';

describe('a scene', () => {
  it('is a function of class, seed and variation alone', () => {
    for (const name of OBJECT_CLASSES) {
      const scene = describeScene(name, 'a', 0.7);
      expect(describeScene(name, 'a', 0.7)).toEqual(scene);
      expect(describeScene(name, 'b', 0.7)).not.toEqual(scene);
    }
  });

  it('takes colours, pose and surroundings without regard to the class', () => {
    const [first, ...others] = OBJECT_CLASSES.map((name) => describeScene(name, 'same'));
    for (const { parts, objectClass, ...rest } of others) {
      expect(parts).not.toEqual(first.parts);
      expect(objectClass).not.toBe(first.objectClass);
      expect(rest).toEqual({ ...rest, ...withoutObject(first) });
    }
  });

  it('varies the parts within a class', () => {
    for (const name of OBJECT_CLASSES) {
      const drawings = new Set(
        Array.from({ length: 8 }, (_, i) => JSON.stringify(describeScene(name, i, 0).parts)),
      );
      expect(drawings.size).toBe(8);
    }
  });

  it('may have a ground with the pattern of its class, in other colours and places each time', () => {
    const grounds = OBJECT_CLASSES.map((name) => {
      const [plain, first, second] = [
        describeScene(name, 1, 1, 0.5),
        describeScene(name, 1, 1, 0.5, 0, 1),
        describeScene(name, 2, 1, 0.5, 0, 1),
      ];
      expect({ ...first, background: plain.background }).toEqual(plain);
      const [[one], [other]] = [first.background, second.background];
      expect(one.d).toBe(other.d);
      expect([one.colour, one.map]).not.toEqual([other.colour, other.map]);
      return one.d;
    });
    expect(new Set(grounds).size).toBe(OBJECT_CLASSES.length);
  });

  it('stays inside its object space, so that poses place it where they mean to', () => {
    for (const name of OBJECT_CLASSES)
      for (let seed = 0; seed < 20; seed++)
        for (const { d } of describeScene(name, seed).parts) {
          expect(d).not.toMatch(/NaN|Infinity/);
          const start = d.match(/^M(-?[\d.]+) (-?[\d.]+)/);
          expect(start, `${name} ${seed}: ${d}`).not.toBeNull();
          expect(Math.max(Math.abs(Number(start?.[1])), Math.abs(Number(start?.[2])))).toBeLessThan(60);
        }
  });
});

describe('rendering', () => {
  it('gives the same bytes for the same arguments, and other bytes for another seed', async () => {
    const draw = (seed: string) =>
      renderScene(describeScene('boat', seed), { size: 48, view: plainView(seed) });
    const picture = await draw('x');
    expect([picture.width, picture.height, picture.data.length]).toEqual([48, 48, 48 * 48 * 3]);
    expect((await draw('x')).data).toEqual(picture.data);
    expect((await draw('y')).data).not.toEqual(picture.data);
  });

  it('fills every pixel under any camera', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const scene = describeScene('key', seed);
      const svg = sceneSvg(scene, { size: 32, view: otherView(seed) });
      expect(svg).toContain('xmlns="http://www.w3.org/2000/svg"');
      const { data } = await renderScene(scene, { size: 32, view: otherView(seed) });
      const black = Array.from(
        { length: 32 * 32 },
        (_, i) => data[3 * i] + data[3 * i + 1] + data[3 * i + 2] === 0,
      );
      expect(black.filter(Boolean).length).toBeLessThan(32 * 32 * 0.5);
    }
  });
});

describe('two views of a scene', () => {
  it('map each pixel to where its surface shows in the other view', async () => {
    const size = 96;
    const errors: number[] = [];
    const shuffled: number[] = [];
    for (let seed = 0; seed < 6; seed++) {
      const scene = describeScene('clock', seed, 0.5);
      const first = { ...plainView(seed, 0) };
      const second = { camera: otherView(seed).camera, light: first.light };
      const [a, b] = [
        await renderScene(scene, { size, view: first }),
        await renderScene(scene, { size, view: second }),
      ];
      const map = pixelMap(first, second, size);
      for (let y = 4; y < size; y += 5)
        for (let x = 4; x < size; x += 5) {
          const [u, v] = map(x + 0.5, y + 0.5);
          if (u < 1 || v < 1 || u >= size - 1 || v >= size - 1) continue;
          const there = (Math.floor(v) * size + Math.floor(u)) * 3;
          const here = (y * size + x) * 3;
          const mirrored = (y * size + (size - 1 - x)) * 3;
          errors.push(Math.abs(a.data[here] - b.data[there]));
          shuffled.push(Math.abs(a.data[mirrored] - b.data[there]));
        }
    }
    const mean = (values: number[]) => values.reduce((sum, v) => sum + v, 0) / values.length;
    expect(errors.length).toBeGreaterThan(800);
    expect(mean(errors)).toBeLessThan(mean(shuffled) / 4);
    errors.sort((p, q) => p - q);
    expect(errors[Math.floor(errors.length * 0.8)]).toBeLessThanOrEqual(2);
  });

  it('are inverse to each other and the identity for one view', () => {
    const [a, b] = [plainView(1), otherView(2)];
    const [u, v] = pixelMap(a, b, 64)(10, 20);
    const [x, y] = pixelMap(b, a, 64)(u, v);
    expect(x).toBeCloseTo(10, 9);
    expect(y).toBeCloseTo(20, 9);
    expect(pixelMap(b, b, 64)(7, 9)[0]).toBeCloseTo(7, 9);
  });
});

function withoutObject(scene: ReturnType<typeof describeScene>) {
  const { parts: _parts, objectClass: _class, ...rest } = scene;
  return rest;
}
