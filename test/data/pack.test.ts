import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkImages, decode, type ImageSource, openImages } from '../../src/data/index.js';
import { PACK_FORMATS, type PackOptions, packImages } from '../../src/data/pack/index.js';
import { encode, render, temporaryFolder, writeTree } from './pictures.js';

const all = <T>(source: ImageSource, of: (i: number) => T) =>
  Array.from({ length: source.length }, (_, i) => of(i));
const bytesOf = (source: ImageSource) =>
  Promise.all(all(source, async (i) => Buffer.from(await source.read(i))));
const options = (more: Partial<PackOptions> & Pick<PackOptions, 'format'>): PackOptions => ({
  split: 'train',
  quality: 95,
  shardBytes: 1e9,
  ...more,
});

let pictures: Record<string, Buffer>;
let root: string;
beforeAll(async () => {
  const made: [string, Buffer][] = await Promise.all(
    ['zebra/b.jpg', 'zebra/a.JPEG', 'ant bear/x:1.png', 'ant bear/deep/x.jpg', 'cat/1.tif', 'cat/1.png'].map(
      async (name, i): Promise<[string, Buffer]> => [
        name,
        await encode(
          render(40 + i, 30, i),
          name.endsWith('png') ? 'png' : name.endsWith('tif') ? 'tiff' : 'jpeg',
        ),
      ],
    ),
  );
  pictures = Object.fromEntries(made);
  root = writeTree(pictures);
});

describe.each(PACK_FORMATS)('packing into %s', (format) => {
  it('keeps bytes, labels, class names and order', async () => {
    const source = await openImages(root);
    const folder = join(temporaryFolder(), 'packed');
    const result = await packImages(source, folder, options({ format }));
    expect(result).toMatchObject({ pictures: 6, leftOut: 0, changed: 0 });
    const packed = await openImages(folder);
    const names = { zip: 'train.zip', tsv: 'TSV train.tsv', tar: 'train-000000.tar' };
    expect(packed.description).toContain(names[format]);
    expect(packed.classes).toEqual(['ant bear', 'cat', 'zebra']);
    expect(all(packed, (i) => packed.label(i))).toEqual(all(source, (i) => source.label(i)));
    expect(await bytesOf(packed)).toEqual(await bytesOf(source));
    expect(new Set(all(packed, (i) => packed.key(i))).size).toBe(6);
    packed.close();
    // Nothing half written stays, and the same pictures give the same bytes.
    expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([]);
    const again = join(temporaryFolder(), 'packed');
    const second = await packImages(source, again, options({ format }));
    for (const [i, file] of result.files.entries())
      expect(readFileSync(file).equals(readFileSync(second.files[i])), file).toBe(true);
  });

  it('makes large pictures smaller, turns rare formats into PNG, and leaves out what it cannot read', async () => {
    const tree = writeTree({
      'a.jpg': await encode(render(200, 100, 1), 'jpeg'),
      'b.png': await encode(render(30, 120, 2), 'png'),
      'c.webp': await encode(render(20, 20, 3), 'webp'),
      'd.gif': Buffer.from('no picture'),
      'e.png': await encode(render(50, 50, 4), 'png'),
    });
    const folder = temporaryFolder();
    const bad: string[] = [];
    const source = await openImages(tree);
    const result = await packImages(
      source,
      folder,
      options({ format, maxSide: 60, onBad: (key, reason) => bad.push(`${key}: ${reason}`) }),
    );
    expect(result).toMatchObject({ pictures: 4, leftOut: 1, changed: 3 });
    expect(bad).toHaveLength(1);
    expect(bad[0]).toMatch(/^d\.gif: /);
    const packed = await openImages(folder);
    expect([packed.labelKind, packed.length]).toEqual(['none', 4]);
    const sizes = (await bytesOf(packed)).map(async (bytes) => {
      const { width, height } = await decode(bytes);
      return [width, height];
    });
    expect(await Promise.all(sizes)).toEqual([
      [60, 30],
      [15, 60],
      [20, 20],
      [50, 50],
    ]);
    const webp = await decode(pictures['cat/1.png']);
    expect(webp.width).toBe(45);
    const [, , third] = await bytesOf(packed);
    const original = await decode(await source.read(2));
    expect(Buffer.compare((await decode(third)).data, original.data)).toBe(0);
    packed.close();
  });

  it('says why it cannot write, and leaves nothing behind', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'file'), '');
    const source = await openImages(root);
    await expect(packImages(source, join(folder, 'file'), options({ format }))).rejects.toThrow(
      /cannot write/,
    );
    await expect(packImages(source, join(folder, 'file/x'), options({ format }))).rejects.toThrow(
      /cannot write/,
    );
    expect(readdirSync(folder)).toEqual(['file']);
  });
});

describe('tar shards', () => {
  it('end where the next picture would make them too large', async () => {
    const folder = temporaryFolder();
    const source = await openImages(root);
    const result = await packImages(source, folder, options({ format: 'tar', shardBytes: 8000 }));
    const shards = result.files.filter((file) => file.endsWith('.tar'));
    expect(shards.length).toBeGreaterThan(2);
    const packed = await openImages(folder);
    expect(packed.chunks.length).toBe(shards.length);
    expect(await bytesOf(packed)).toEqual(await bytesOf(source));
    packed.close();
  });
});

describe('checking a set of pictures', () => {
  it('finds sizes, copies and what cannot be read', async () => {
    const same = await encode(render(300, 200, 1), 'png');
    const tree = writeTree({
      'a/1.png': same,
      'a/2.png': await encode(render(10, 90, 2), 'png'),
      'a/broken.jpg': pictures['zebra/b.jpg'].subarray(0, 400),
      'b/1.png': same,
      'b/2.png': Buffer.alloc(0),
      'b/3.png': same,
    });
    const seen: [number, number][] = [];
    const report = await checkImages(await openImages(tree), {
      onProgress: (done, unreadable) => seen.push([done, unreadable]),
    });
    expect(report).toMatchObject({
      images: 6,
      checked: 6,
      duplicates: [['a/1.png', 'b/1.png', 'b/3.png']],
      sides: [
        { from: 1, to: 31, count: 1 },
        { from: 128, to: 223, count: 3 },
      ],
      smallest: 10,
      largest: 300,
      perClass: { least: 2, most: 2, empty: 0 },
    });
    expect(report.unreadable.map(({ key }) => key)).toEqual(['a/broken.jpg', 'b/2.png']);
    expect(report.unreadable[1].reason).toBe('the file is empty');
    expect(seen.at(-1)).toEqual([6, 2]);
    expect((await checkImages(await openImages(tree), { sample: 2 })).checked).toBe(2);
  });
});
