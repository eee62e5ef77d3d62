import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type Picture, RandomStream, type RetouchStep, retouched } from '../../src/data/index.js';
import { render } from './pictures.js';

const fill = [124, 116, 104] as const;
const bicubic = { filter: 'bicubic', fill } as const;
const bilinear = { filter: 'bilinear', fill } as const;

const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex').slice(0, 16);

function noise(random: RandomStream, width: number, height: number): Picture {
  return { data: Uint8Array.from({ length: width * height * 3 }, () => random.integer(256)), width, height };
}

describe('the steps of RandAugment', () => {
  // The hashes are those of Pillow 9.4 on the same picture: test/fixtures/data/pillow-hashes.py.
  it.each<[RetouchStep, string]>([
    [{ op: 'autoContrast' }, '2518d52921cfc295'],
    [{ op: 'equalize' }, '70e21bdf2ffd9dad'],
    [{ op: 'invert' }, '5073ad2b5b2574b5'],
    [{ op: 'posterize', bits: 2 }, 'effefc95c35464d1'],
    [{ op: 'solarize', threshold: 26 }, 'fdf883b31e79b83d'],
    [{ op: 'solarizeAdd', add: 99, threshold: 128 }, '3777b9ad97c0502d'],
    [{ op: 'color', factor: 1.81 }, '64e83f80dad1c535'],
    [{ op: 'contrast', factor: 0.19 }, '72ff33377ef790b7'],
    [{ op: 'brightness', factor: 1.81 }, 'bf25da426a1c6d71'],
    [{ op: 'sharpness', factor: 0.19 }, 'c7f0883ee4389ee2'],
    [{ op: 'sharpness', factor: 1.81 }, 'cd8d01b507dec305'],
    [{ op: 'shearX', by: 0.27, ...bicubic }, '17786d6d126f278c'],
    [{ op: 'shearY', by: -0.27, ...bicubic }, '7fab778a141f2ae7'],
    [{ op: 'translateX', by: 0.405 * 40, ...bicubic }, 'd52a4dc8fd230d17'],
    [{ op: 'translateY', by: -0.405 * 33, ...bilinear }, 'fd211753a3a1993c'],
    [{ op: 'rotate', by: 27, ...bicubic }, 'ee54602907038b72'],
    [{ op: 'rotate', by: -13.5, ...bilinear }, '010b7d3c130469fc'],
  ])('%j equals Pillow', (step, expected) => {
    expect(hash(retouched(render(40, 33, 8), [step]).data)).toBe(expected);
  });

  it('do nothing at their neutral values, on pictures of any size', () => {
    const random = new RandomStream().key(1, 0, 0, 1);
    const neutral: RetouchStep[] = [
      { op: 'posterize', bits: 8 },
      { op: 'solarize', threshold: 256 },
      { op: 'solarizeAdd', add: 0, threshold: 128 },
      { op: 'color', factor: 1 },
      { op: 'contrast', factor: 1 },
      { op: 'brightness', factor: 1 },
      { op: 'sharpness', factor: 1 },
      ...(['shearX', 'shearY', 'translateX', 'translateY', 'rotate'] as const).flatMap((op) => [
        { op, by: 0, ...bicubic },
        { op, by: 0, ...bilinear },
      ]),
    ];
    for (const [width, height] of [
      [1, 1],
      [2, 1],
      [1, 3],
      [2, 2],
      [17, 9],
    ]) {
      const picture = noise(random, width, height);
      for (const step of neutral)
        expect(retouched(picture, [step]).data, `${step.op} on ${width}x${height}`).toEqual(picture.data);
    }
  });

  it('follow each other, and move whole pixels to where they belong', () => {
    const picture = noise(new RandomStream().key(2, 0, 0, 1), 12, 7);
    const twice = retouched(picture, [{ op: 'invert' }, { op: 'invert' }]);
    expect(twice.data).toEqual(picture.data);
    const moved = retouched(picture, [{ op: 'translateX', by: 3, ...bicubic }]).data;
    for (let y = 0; y < 7; y++)
      for (let x = 0; x < 12; x++)
        for (let c = 0; c < 3; c++)
          expect(moved[(y * 12 + x) * 3 + c]).toBe(
            x + 3 < 12 ? picture.data[(y * 12 + x + 3) * 3 + c] : fill[c],
          );
    const half = retouched(picture, [{ op: 'rotate', by: 180, ...bicubic }]).data;
    const backwards = Uint8Array.from({ length: picture.data.length }, (_, i) => {
      const pixel = Math.floor(i / 3);
      return picture.data[(12 * 7 - 1 - pixel) * 3 + (i % 3)];
    });
    expect(half).toEqual(backwards);
  });

  it('refuse what lies outside of the memory or of the scale', () => {
    const picture = render(5, 4, 1);
    expect(() => retouched({ ...picture, width: 6 }, [{ op: 'invert' }])).toThrow('outside its memory');
    expect(() => retouched(picture, [{ op: 'posterize', bits: 9 }])).toThrow('out of range');
    expect(() => retouched(picture, [{ op: 'color', factor: Number.NaN }])).toThrow('out of range');
  });
});
