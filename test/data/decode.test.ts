import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decode, type Picture } from '../../src/data/index.js';
import { encode, render } from './pictures.js';

const picture = render(40, 30, 3);

function expectSame(actual: Picture, expected: Picture): void {
  expect([actual.width, actual.height]).toEqual([expected.width, expected.height]);
  expect(Buffer.compare(actual.data, expected.data)).toBe(0);
}

/** A PNG with any colour type and 16 bits a channel. */
function png16(width: number, height: number, channels: 1 | 2 | 3 | 4, value: (i: number) => number): Buffer {
  const rows = Buffer.alloc(height * (1 + width * channels * 2));
  let i = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width * channels; x++)
      rows.writeUInt16BE(value(i++), y * (1 + width * channels * 2) + 1 + x * 2);
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(crc32(body), body.length + 4);
    return out;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 16;
  header[9] = { 1: 0, 2: 4, 3: 2, 4: 6 }[channels];
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

const withAlpha = async () => {
  const data = Buffer.alloc(40 * 30 * 4);
  for (let i = 0; i < 40 * 30; i++) {
    data.set(picture.data.subarray(i * 3, i * 3 + 3), i * 4);
    data[i * 4 + 3] = i & 255;
  }
  return sharp(data, { raw: { width: 40, height: 30, channels: 4 } });
};

describe('decoding as Pillow does', () => {
  it('gives lossless pictures back', async () => {
    for (const format of ['png', 'tiff'] as const)
      if (format === 'png') expectSame(await decode(await encode(picture, format)), picture);
    const lossless = await sharp(picture.data, { raw: { width: 40, height: 30, channels: 3 } })
      .webp({ lossless: true })
      .toBuffer();
    expectSame(await decode(lossless), picture);
  });

  it('drops alpha without blending', async () => {
    expectSame(await decode(await (await withAlpha()).png().toBuffer()), picture);
  });

  it('repeats grey in three channels and looks palettes up', async () => {
    const grey = await sharp(picture.data, { raw: { width: 40, height: 30, channels: 3 } })
      .toColourspace('b-w')
      .png()
      .toBuffer();
    const { data } = await decode(grey);
    for (let i = 0; i < data.length; i += 3)
      expect(data[i] === data[i + 1] && data[i] === data[i + 2]).toBe(true);
    const palette = await sharp(picture.data, { raw: { width: 40, height: 30, channels: 3 } })
      .png({ palette: true, colours: 16 })
      .toBuffer();
    expect((await decode(palette)).data.length).toBe(picture.data.length);
  });

  it('does not rotate by EXIF', async () => {
    const rotated = await sharp(picture.data, { raw: { width: 40, height: 30, channels: 3 } })
      .withMetadata({ orientation: 6 })
      .jpeg()
      .toBuffer();
    const { width, height } = await decode(rotated);
    expect([width, height]).toEqual([40, 30]);
  });

  it('converts CMYK without a profile', async () => {
    const cmyk = await sharp(picture.data, { raw: { width: 40, height: 30, channels: 3 } })
      .toColourspace('cmyk')
      .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
      .toBuffer();
    const { data } = await decode(cmyk);
    expect(data.length).toBe(picture.data.length);
    const raw = await sharp(cmyk, { ignoreIcc: true })
      .pipelineColourspace('cmyk')
      .toColourspace('cmyk')
      .raw()
      .toBuffer();
    for (let i = 0; i < 40 * 30; i++)
      for (let c = 0; c < 3; c++) {
        const light = 255 - raw[i * 4 + 3];
        const exact = light - (raw[i * 4 + c] * light) / 255;
        expect(Math.abs(data[i * 3 + c] - exact)).toBeLessThanOrEqual(0.51);
      }
  });

  it('cuts 16-bit grey at 255 and takes the high byte of 16-bit colours', async () => {
    const grey = await decode(png16(20, 10, 1, (i) => i * 7));
    for (let i = 0; i < 200; i++) expect(grey.data[i * 3 + 1]).toBe(Math.min(255, i * 7));
    const value = (i: number) => (i * 977) & 0xffff;
    const rgb = await decode(png16(20, 10, 3, value));
    for (let i = 0; i < 600; i++) expect(rgb.data[i]).toBe(value(i) >> 8);
    const rgba = await decode(png16(20, 10, 4, value));
    expect(rgba.data[3]).toBe(value(4) >> 8);
  });

  it('takes one pixel, and a very long picture', async () => {
    expectSame(await decode(await encode(render(1, 1, 5))), render(1, 1, 5));
    const long = render(20_000, 10, 5);
    expectSame(await decode(await encode(long)), long);
  });

  it('reads BMP and PNM', async () => {
    const bmp = Buffer.alloc(54 + 30 * 120);
    bmp.write('BM', 'latin1');
    bmp.writeUInt32LE(54, 10);
    bmp.writeUInt32LE(40, 14);
    bmp.writeInt32LE(40, 18);
    bmp.writeInt32LE(30, 22);
    bmp.writeUInt16LE(1, 26);
    bmp.writeUInt16LE(24, 28);
    for (let y = 0; y < 30; y++)
      for (let x = 0; x < 40; x++)
        for (let c = 0; c < 3; c++)
          bmp[54 + (29 - y) * 120 + x * 3 + 2 - c] = picture.data[(y * 40 + x) * 3 + c];
    expectSame(await decode(bmp), picture);
    await expect(decode(bmp.subarray(0, 2000))).rejects.toThrow('truncated');
    expectSame(
      await decode(Buffer.concat([Buffer.from('P6\n# made by hand\n40 30\n255\n'), picture.data])),
      picture,
    );
    await expect(decode(Buffer.from('P5 40 30 255 abcdefghijklmnop'))).rejects.toThrow('truncated');
  });

  it('refuses what is broken, empty or too large, with the reason', async () => {
    const jpeg = await encode(picture, 'jpeg');
    await expect(decode(jpeg.subarray(0, jpeg.length / 2))).rejects.toThrow();
    const png = await encode(picture);
    await expect(decode(png.subarray(0, png.length / 2))).rejects.toThrow();
    await expect(decode(Buffer.alloc(0))).rejects.toThrow('empty');
    await expect(decode(Buffer.from('this is no picture, but a line of text'))).rejects.toThrow(
      'unsupported',
    );
    await expect(
      decode(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')),
    ).rejects.toThrow('SVG');
    await expect(decode(png, 100)).rejects.toThrow('40x30 pixels, more than the 100');
    await expect(decode(await encode(picture, 'webp'), 100)).rejects.toThrow('pixel limit');
  });
});
