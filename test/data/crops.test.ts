import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  changeColours,
  cropJob,
  dinoPlan,
  drawPhotometric,
  evaluationJob,
  FILTER,
  nativeImage,
  type PhotometricDraws,
  RandomStream,
  randomResizedCrop,
  resampleOne,
} from '../../src/data/index.js';
import { render } from './pictures.js';

const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex').slice(0, 16);

describe('crops', () => {
  const picture = render(97, 61, 4);

  // The hashes are those of Pillow 9.4 on the same pictures: test/fixtures/data/pillow-hashes.py.
  it.each([
    [{ left: 3, top: 5, width: 50, height: 41 }, 32, FILTER.bicubic, '41326f13bf30854a'],
    [{ left: 0, top: 0, width: 97, height: 61 }, 16, FILTER.bicubic, 'b3845f4644c2a608'],
    [{ left: 80, top: 40, width: 7, height: 5 }, 48, FILTER.bicubic, 'be2c26a83f26a5e8'],
    [{ left: 90, top: 50, width: 7, height: 11 }, 7, FILTER.bicubic, '6ca173bdc03c767b'],
    [{ left: 3, top: 5, width: 50, height: 41 }, 20, FILTER.lanczos, '9fdbf49f9b1c5e50'],
    [{ left: 3, top: 5, width: 50, height: 41 }, 20, FILTER.bilinear, 'fc04d2ab0f6a092b'],
    [{ left: 3, top: 5, width: 50, height: 41 }, 20, FILTER.box, '949e33dc1fedb014'],
  ])('of %j to %i px (filter %i) equal those of Pillow', (box, size, filter, expected) => {
    expect(hash(resampleOne(picture, { ...cropJob(box, size, false, 0), filter }))).toBe(expected);
  });

  it('mirror', () => {
    const box = { left: 10, top: 4, width: 60, height: 50 };
    const plain = resampleOne(picture, cropJob(box, 33, false, 0));
    const mirrored = resampleOne(picture, cropJob(box, 33, true, 0));
    for (let y = 0; y < 33; y++)
      for (let x = 0; x < 33; x++)
        for (let c = 0; c < 3; c++)
          expect(mirrored[(y * 33 + x) * 3 + c]).toBe(plain[(y * 33 + 32 - x) * 3 + c]);
  });

  it('of an evaluation equal a window of the whole resized picture, black outside', () => {
    const { fullWidth, fullHeight } = evaluationJob(61, 97, { resize: 40, size: 32 }, 0);
    expect([fullWidth, fullHeight]).toEqual([63, 40]);
    const whole = resampleOne(picture, {
      ...evaluationJob(61, 97, { resize: 40, size: 32 }, 0),
      windowX: 0,
      windowY: 0,
      windowWidth: fullWidth,
      windowHeight: fullHeight,
    });
    const centre = resampleOne(picture, evaluationJob(61, 97, { resize: 40, size: 32 }, 0));
    const left = 16; // round half to even of 15.5
    for (let y = 0; y < 32; y++)
      expect(
        Buffer.compare(
          centre.subarray(y * 96, y * 96 + 96),
          whole.subarray(((y + 4) * fullWidth + left) * 3, ((y + 4) * fullWidth + left + 32) * 3),
        ),
      ).toBe(0);
    const small = resampleOne(picture, evaluationJob(61, 97, { resize: 10, size: 14 }, 0));
    expect(small.subarray(0, 14 * 3 * 2).every((value) => value === 0)).toBe(true);
    expect(small.subarray(14 * 3 * 2, 14 * 3 * 3).some((value) => value > 0)).toBe(true);
  });

  it('cannot leave the picture or their target', () => {
    const bad = (change: object) => () =>
      resampleOne(picture, { ...cropJob({ left: 0, top: 0, width: 5, height: 5 }, 4, false, 0), ...change });
    expect(bad({ left: 93 })).toThrow('leaves a picture');
    expect(bad({ top: -1 })).toThrow('leaves a picture');
    expect(bad({ width: 0 })).toThrow('leaves a picture');
    expect(bad({ width: Number.NaN })).toThrow('no number');
    expect(bad({ fullWidth: 0 })).toThrow('no size');
    expect(bad({ filter: 9 })).toThrow('filter');
    const jobs = new Float64Array([0, 0, 5, 5, 4, 4, 0, 0, 4, 4, 0, 2, 1]);
    const { data, width, height } = picture;
    expect(() => nativeImage.imageResample(data, width, height, jobs, new Uint8Array(48))).toThrow(
      'does not fit',
    );
    expect(() => nativeImage.imageResample(data, 98, height, jobs, new Uint8Array(99))).toThrow(
      'fewer pixels',
    );
  });
});

describe('exact colour steps', () => {
  const source = render(40, 33, 8);
  it.each([
    [{ brightness: 1.37 }, 'cb3d1aeb749b9812'],
    [{ contrast: 0.6 }, '13fb8e6a94dad6e0'],
    [{ saturation: 1.2 }, '16c2385587ebe28e'],
    [{ hue: -0.1 }, '9a686135bbe16d6b'],
    [{ gray: true }, 'd2cce7ad8bcd9e4b'],
    [{ solarize: 128 }, '71270417ec4ada6d'],
    [{ blurRadius: 0.4 }, '281c7b9f7e6ab3a3'],
    [{ blurRadius: 1.9 }, 'e3e142d412a9287c'],
    [{ blurRadius: 30 }, 'd4e19b25b66ebf30'],
  ])('%j equals that of Pillow', (changes, expected) => {
    const pixels = source.data.slice();
    changeColours({ ...source, data: pixels }, changes);
    expect(hash(pixels)).toBe(expected);
  });
});

describe('random boxes', () => {
  it('stay inside, keep the scale and fall back to the centre', () => {
    const random = new RandomStream();
    for (let i = 0; i < 3000; i++) {
      const [width, height] = [1 + (i % 50), 1 + ((i * 7) % 90)];
      const box = randomResizedCrop(random.key(0, 0, i, 1), height, width, [0.05, 0.4], [3 / 4, 4 / 3]);
      expect(box.width > 0 && box.height > 0 && box.left >= 0 && box.top >= 0).toBe(true);
      expect(box.left + box.width <= width && box.top + box.height <= height).toBe(true);
    }
    expect(randomResizedCrop(random, 10, 20_000, [0.4, 1], [3 / 4, 4 / 3])).toEqual({
      top: 0,
      left: 9993,
      height: 10,
      width: 13,
    });
    expect(randomResizedCrop(random, 1, 1, [0.05, 0.4], [3 / 4, 4 / 3])).toEqual({
      top: 0,
      left: 0,
      height: 1,
      width: 1,
    });
  });

  it('make colour changes with the probabilities of the policy', () => {
    const n = 20_000;
    const draws: PhotometricDraws = {
      order: new Uint8Array(n * 4),
      brightness: new Float32Array(n),
      contrast: new Float32Array(n),
      saturation: new Float32Array(n),
      hue: new Float32Array(n),
      gray: new Uint8Array(n),
      blurRadius: new Float32Array(n),
      solarize: new Uint8Array(n),
    };
    const plan = dinoPlan();
    const random = new RandomStream();
    for (let i = 0; i < n; i++) drawPhotometric(random.key(1, 0, i, 17), plan, plan.groups[0], 1, draws, i);
    const share = (test: (i: number) => boolean) =>
      Array.from({ length: n }, (_, i) => i).filter(test).length / n;
    const near = (value: number, p: number) =>
      expect(Math.abs(value - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / n));
    near(
      share((i) => !Number.isNaN(draws.brightness[i])),
      0.8,
    );
    near(
      share((i) => draws.gray[i] === 1),
      0.2,
    );
    near(
      share((i) => draws.blurRadius[i] > 0),
      0.1,
    );
    near(
      share((i) => draws.solarize[i] === 1),
      0.2,
    );
    near(
      share((i) => !Number.isNaN(draws.hue[i]) && draws.order[i * 4] === 3),
      0.2,
    );
    const inverting = dinoPlan({ invert: 0.4 });
    const again = { ...draws, brightness: new Float32Array(n), solarize: new Uint8Array(n) };
    for (let i = 0; i < n; i++)
      drawPhotometric(random.key(1, 0, i, 17), inverting, inverting.groups[0], 1, again, i);
    near(
      share((i) => again.solarize[i] === 2),
      0.4,
    );
    expect(again.brightness).toEqual(draws.brightness);
    const factors = draws.brightness.filter((value) => !Number.isNaN(value));
    expect(Math.min(...factors)).toBeGreaterThanOrEqual(0.6);
    expect(Math.max(...factors)).toBeLessThanOrEqual(1.4);
    const turns = draws.hue.filter((value) => !Number.isNaN(value));
    expect(Math.max(...turns.map(Math.abs))).toBeLessThanOrEqual(0.1001);
  });

  it('refuse plans that cannot be', () => {
    expect(() => dinoPlan({ localSizes: [96, 64], localCounts: [8] })).toThrow('local_crops_number');
    expect(() => dinoPlan({ localScale: [0.4, 0.1] })).toThrow('scale');
    expect(() => dinoPlan({ globalSize: 0 })).toThrow('size');
    expect(dinoPlan({ localCounts: [0] }).groups).toHaveLength(1);
  });
});
