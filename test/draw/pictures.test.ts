import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import {
  blank,
  dataUri,
  encodePng,
  enlarge,
  fromPlanar,
  heatFigure,
  heatMap,
  mapColour,
  overlay,
  paste,
  resample,
} from '../../src/draw/index.js';

const pixel = ({ width, data }: { width: number; data: Uint8Array }, x: number, y: number) =>
  Array.from(data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3));

describe('pictures', () => {
  it('go through PNG unchanged', async () => {
    const picture = { width: 5, height: 3, data: Uint8Array.from({ length: 45 }, (_, i) => (i * 53) % 256) };
    const { data, info } = await sharp(await encodePng(picture))
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect([info.width, info.height, info.channels]).toEqual([5, 3, 3]);
    expect(new Uint8Array(data)).toEqual(picture.data);
    expect(await dataUri(picture)).toMatch(/^data:image\/png;base64,[A-Za-z0-9+/=]+$/);
    await expect(encodePng({ ...picture, width: 4 })).rejects.toThrow(
      /internal: a 4x3 picture needs 36 bytes/,
    );
  });

  it('come back from normalised planar floats', () => {
    const mean = [0.5, 0.4, 0.3] as const;
    const std = [0.2, 0.25, 0.3] as const;
    const bytes = [10, 200, 30, 40, 250, 60];
    const planar = [0, 1, 2].flatMap((c) => [0, 1].map((i) => (bytes[i * 3 + c] / 255 - mean[c]) / std[c]));
    expect(Array.from(fromPlanar(planar, 2, 1, mean, std).data)).toEqual(bytes);
    expect(Array.from(fromPlanar([99, -99, 99], 1, 1, mean, std).data)).toEqual([255, 0, 255]);
  });

  it('are pasted, also over the edge, and enlarged by whole pixels', () => {
    const target = blank(4, 3, [0, 0, 0]);
    paste(target, blank(3, 3, [9, 8, 7]), 2, -1);
    expect(pixel(target, 1, 0)).toEqual([0, 0, 0]);
    expect(pixel(target, 3, 1)).toEqual([9, 8, 7]);
    expect(pixel(target, 3, 2)).toEqual([0, 0, 0]);
    paste(target, blank(2, 2), 10, 0);
    const large = enlarge(target, 3);
    expect([large.width, large.height]).toEqual([12, 9]);
    expect(pixel(large, 11, 5)).toEqual(pixel(target, 3, 1));
    expect(resample(large, 4, 3).data).toEqual(target.data);
  });
});

describe('colour maps', () => {
  it('rise in lightness from end to end, are cut outside, and show gaps as grey', () => {
    const light = ([r, g, b]: readonly number[]) =>
      0.2126 * (r / 255) ** 2.2 + 0.7152 * (g / 255) ** 2.2 + 0.0722 * (b / 255) ** 2.2;
    for (const name of ['viridis', 'cividis', 'grey'] as const) {
      for (let i = 1; i <= 40; i++)
        expect(light(mapColour(i / 40, name))).toBeGreaterThanOrEqual(light(mapColour((i - 1) / 40, name)));
      expect(mapColour(-3, name)).toEqual(mapColour(0, name));
      expect(mapColour(3, name)).toEqual(mapColour(1, name));
    }
    expect(mapColour(0)).toEqual([0x44, 0x01, 0x54]);
    expect(mapColour(0.5)).toEqual([0x21, 0x91, 0x8c]);
    expect(mapColour(Number.NaN)).toEqual([128, 128, 128]);
  });
});

describe('heat maps', () => {
  const grid = { values: [0, 1, 2, 3], width: 2, height: 2 };

  it('colour each cell by its place in the range', () => {
    expect(pixel(heatMap(grid), 0, 0)).toEqual(Array.from(mapColour(0)));
    expect(pixel(heatMap(grid), 1, 1)).toEqual(Array.from(mapColour(1)));
    expect(pixel(heatMap(grid, { low: 0, high: 6 }), 1, 1)).toEqual(Array.from(mapColour(0.5)));
    expect(pixel(heatMap({ values: [2, 2], width: 2, height: 1 }), 0, 0)).toEqual(Array.from(mapColour(0.5)));
    expect(() => heatMap({ values: [1], width: 2, height: 2 })).toThrow(/internal/);
  });

  it('lie over a picture, blended or in blocks', () => {
    const white = blank(8, 8);
    const blocks = overlay(white, grid, { opacity: 1, blocks: true });
    expect(pixel(blocks, 3, 3)).toEqual(Array.from(mapColour(0)));
    expect(pixel(blocks, 4, 4)).toEqual(Array.from(mapColour(1)));
    const blended = overlay(white, grid, { opacity: 1 });
    expect(pixel(blended, 0, 0)).toEqual(Array.from(mapColour(0)));
    expect(pixel(blended, 3, 3)).not.toEqual(pixel(blocks, 3, 3));
    expect(overlay(white, grid, { opacity: 0 }).data).toEqual(white.data);
  });

  it('are shown with the scale that says what a colour means', async () => {
    const panel = { title: 'head <1>', picture: heatMap(grid), mark: [0.5, 0.5] as const };
    const { svg, width } = await heatFigure(
      [panel, panel],
      { low: 0, high: 3, title: 'attention' },
      { side: 100 },
    );
    expect(width).toBe(210);
    expect(svg).toContain('head &lt;1&gt;');
    expect(svg).toContain('>attention</text>');
    expect(svg.match(/<image /g)).toHaveLength(2);
  });
});
