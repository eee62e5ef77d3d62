import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { decode, type ImageSource, openImages, RandomStream } from '../../src/data/index.js';
import { PACK_FORMATS, packImages } from '../../src/data/pack/index.js';
import { UserError } from '../../src/errors.js';
import { encode, render, temporaryFolder, writeTree } from './pictures.js';

/** Broken variants of each file; more with ESVIT_FUZZ=20000. */
const RUNS = Number(process.env.ESVIT_FUZZ ?? 2000);
const TIMEOUT = 300_000 + RUNS * 50;

/** The same damage for the same seed: bytes changed, cut off, doubled, or numbers at the edge of their range. */
function damage(bytes: Buffer, random: RandomStream): Buffer {
  const broken = Buffer.from(bytes);
  const kind = random.integer(6);
  if (kind === 0) return broken.subarray(0, random.integer(broken.length + 1));
  if (kind === 1) {
    const at = random.integer(broken.length);
    return Buffer.concat([broken.subarray(0, at), broken.subarray(random.integer(broken.length))]);
  }
  for (let i = 0; i <= random.integer(8); i++) {
    const at = random.integer(broken.length);
    if (kind === 2) broken[at] = random.integer(256);
    else if (kind === 3) broken[at] ^= 1 << random.integer(8);
    else broken.fill(kind === 4 ? 0xff : 0, at, Math.min(broken.length, at + 1 + random.integer(8)));
  }
  return broken;
}

const reason = (error: unknown) => {
  expect(error).toBeInstanceOf(Error);
  expect((error as Error).message).not.toMatch(/^internal/);
};

/** Everything a loader would ask of it. */
async function useAll(source: ImageSource): Promise<void> {
  expect(source.length).toBeGreaterThan(0);
  for (let i = 0; i < source.length; i++) {
    expect(typeof source.key(i)).toBe('string');
    try {
      source.label(i);
      await source.read(i);
    } catch (error) {
      reason(error);
    }
  }
  expect(source.description).not.toBe('');
  expect(source.classes.length).toBeLessThan(1e6);
}

let files: Record<string, Buffer>;
beforeAll(async () => {
  files = {};
  for (let i = 0; i < 4; i++) files[`c${i % 2}/${i}.png`] = await encode(render(5 + i, 6, i), 'png');
});

describe(`${RUNS} broken archives of each kind end in an error at most`, () => {
  it.each(PACK_FORMATS)(
    '%s',
    async (format) => {
      const folder = temporaryFolder();
      const source = await openImages(writeTree(files));
      await packImages(source, folder, { format, split: 'train', quality: 95, shardBytes: 1e9 });
      const names = readdirSync(folder);
      const whole = new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
      const random = new RandomStream().key(1, format.length, format.charCodeAt(1), 90);
      const place = join(temporaryFolder(), 'broken');
      mkdirSync(place);
      for (const [name, bytes] of whole) writeFileSync(join(place, name), bytes);
      let opened = 0;
      for (let run = 0; run < RUNS; run++) {
        const name = names[random.integer(names.length)];
        writeFileSync(join(place, name), damage(whole.get(name)!, random));
        let broken: ImageSource | undefined;
        try {
          broken = await openImages(place, { layout: format });
          opened++;
          await useAll(broken);
        } catch (error) {
          // What cannot be opened is explained to a person.
          expect(error, String(error)).toBeInstanceOf(UserError);
        } finally {
          broken?.close();
          writeFileSync(join(place, name), whole.get(name)!);
        }
      }
      expect(opened).toBeGreaterThan(RUNS / 20);
    },
    TIMEOUT,
  );
});

describe(`${RUNS} broken pictures end in an error at most`, () => {
  it.each(['jpeg', 'png', 'webp', 'gif', 'tiff', 'avif', 'bmp', 'ppm'] as const)(
    '%s',
    async (format) => {
      const whole = await encodeAs(format);
      expect(await decode(whole)).toMatchObject({ width: 23, height: 17 });
      const random = new RandomStream().key(2, format.charCodeAt(0), format.charCodeAt(1), 91);
      let decoded = 0;
      for (let run = 0; run < Math.ceil(RUNS / 8); run++) {
        try {
          const { data, width, height } = await decode(damage(whole, random), 1_000_000);
          expect(data.length).toBe(width * height * 3);
          decoded++;
        } catch (error) {
          reason(error);
        }
      }
      expect(decoded).toBeLessThan(RUNS / 8);
    },
    TIMEOUT,
  );
});

async function encodeAs(
  format: 'jpeg' | 'png' | 'webp' | 'gif' | 'tiff' | 'avif' | 'bmp' | 'ppm',
): Promise<Buffer> {
  const picture = render(23, 17, 3);
  const { data, width, height } = picture;
  if (format === 'ppm') return Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), data]);
  if (format === 'avif')
    return sharp(data, { raw: { width, height, channels: 3 } })
      .avif({ effort: 0 })
      .toBuffer();
  if (format !== 'bmp') return encode(picture, format);
  const rowBytes = Math.ceil((width * 3) / 4) * 4;
  const bmp = Buffer.alloc(54 + rowBytes * height);
  bmp.write('BM');
  bmp.writeUInt32LE(54, 10);
  bmp.writeUInt32LE(40, 14);
  bmp.writeInt32LE(width, 18);
  bmp.writeInt32LE(height, 22);
  bmp.writeUInt16LE(24, 28);
  bmp.fill(7, 54);
  return bmp;
}

describe('pictures that claim to be huge', () => {
  /** A small picture whose header says 60,000 x 60,000. */
  const claim = async (format: 'jpeg' | 'png'): Promise<Buffer> => {
    const bytes = await encode(render(16, 16, 1), format);
    if (format === 'png') {
      bytes.writeUInt32BE(60_000, 16);
      bytes.writeUInt32BE(60_000, 20);
      bytes.writeUInt32BE(crc32(bytes.subarray(12, 29)), 29);
    } else {
      const frame = bytes.indexOf(Buffer.from([0xff, 0xc0]));
      bytes.writeUInt16BE(60_000, frame + 5);
      bytes.writeUInt16BE(60_000, frame + 7);
    }
    return bytes;
  };

  it('are refused before they are decoded', async () => {
    const before = process.memoryUsage.rss();
    for (const format of ['jpeg', 'png'] as const)
      await expect(decode(await claim(format)), format).rejects.toThrow('60000x60000 pixels');
    expect(process.memoryUsage.rss() - before).toBeLessThan(2 ** 30); // decoded, it would be ten times that
    for (const format of ['jpeg', 'png', 'webp', 'gif', 'tiff'] as const) {
      const picture = await encode(render(40, 40, 1), format);
      await expect(decode(picture, 1000), format).rejects.toThrow(/pixel/i);
    }
  });
});
