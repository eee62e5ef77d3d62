import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { imageLayout, openFolder, openImages, openZip } from '../../src/data/index.js';
import { openShared } from '../../src/data/source.js';
import { encode, render, temporaryFolder, writeTree } from './pictures.js';

let png: Buffer;
beforeAll(async () => {
  png = await encode(render(8, 8, 1));
});

const keys = (source: { length: number; key(i: number): string }) =>
  Array.from({ length: source.length }, (_, i) => source.key(i));

describe('image folders', () => {
  it('are read as torchvision does: classes by code point, files by folder and name', () => {
    const root = writeTree({
      'train/b/2.PNG': png,
      'train/b/10.png': png,
      'train/b/x-y/1.png': png,
      'train/b/x/1.png': png,
      'train/b/x/z/1.png': png,
      'train/B/a.jpeg': png,
      'train/b-c/a.png': png,
      'train/stray.png': png,
      'train/b/notes.txt': 'no picture',
      'val/b/q.png': png,
    });
    const source = openFolder(join(root, 'train'));
    expect(source.classes).toEqual(['B', 'b', 'b-c']);
    expect(keys(source)).toEqual([
      'B/a.jpeg',
      'b/10.png',
      'b/2.PNG',
      'b/x/1.png',
      'b/x-y/1.png',
      'b/x/z/1.png',
      'b-c/a.png',
    ]);
    expect(source.label(0)).toBe(0);
    expect(source.label(6)).toBe(2);
    expect(Buffer.compare(source.read(1) as Buffer, png)).toBe(0);
  });

  it('without classes are flat, at any depth', () => {
    const root = writeTree({ 'a.png': png, 'b.jpg': png, 'c.png': png, 'deep/er/d.png': png });
    const source = openFolder(root);
    expect(source.classes).toEqual([]);
    expect(keys(source)).toEqual(['a.png', 'b.jpg', 'c.png', 'deep/er/d.png']);
    expect(source.label(0)).toBe(-1);
  });

  it('keep the class numbers of the training set', async () => {
    const root = writeTree({
      'train/a/1.png': png,
      'train/b/1.png': png,
      'val/b/1.png': png,
      'val/b/2.png': png,
    });
    const train = await openImages(root);
    const val = await openImages(root, { split: 'val', classes: train.classes });
    expect([val.length, val.label(0)]).toEqual([2, 1]);
    await expect(openImages(root, { split: 'val', classes: ['a'] })).rejects.toThrow("class 'b'");
  });

  it('end at symbolic links that lead back, and follow the others', () => {
    const other = writeTree({ 'p.png': png });
    const root = writeTree({ 'c/1.png': png });
    symlinkSync(root, join(root, 'c/loop'));
    symlinkSync(other, join(root, 'd'));
    symlinkSync(join(root, 'nowhere'), join(root, 'c/broken.png'));
    expect(keys(openFolder(root))).toEqual(['c/1.png', 'd/p.png']);
  });

  it('sort by code point where JavaScript does not', () => {
    const root = writeTree({ '\u{1F600}.png': png, '\uFFFD.png': png });
    expect(keys(openFolder(root))).toEqual(['\uFFFD.png', '\u{1F600}.png']);
  });

  it('explain themselves when nothing fits', async () => {
    const root = temporaryFolder();
    await expect(openImages(join(root, 'none'))).rejects.toThrow('does not exist');
    await expect(openImages(root)).rejects.toThrow('no pictures found');
    writeFileSync(join(root, 'x.bin'), '');
    await expect(openImages(join(root, 'x.bin'))).rejects.toThrow('is a file');
    await expect(openImages(root, { split: 'val' })).rejects.toThrow("no 'val' split");
    await expect(openImages(root, { layout: 'zip' })).rejects.toThrow('train.zip');
  });

  it('report a file that has vanished when it is read', () => {
    const root = writeTree({ 'a/1.png': png, 'a/2.png': png });
    const source = openShared(openFolder(root).share());
    rmSync(join(root, 'a/2.png'));
    expect(() => source.read(1)).toThrow('ENOENT');
    expect((source.read(0) as Buffer).length).toBe(png.length);
  });
});

interface ZipEntry {
  name: string;
  content: Uint8Array;
  deflate?: boolean;
  badCrc?: boolean;
  localExtra?: number;
}

/** A zip archive by hand, so that every odd thing can be put into it. */
function zip(entries: readonly ZipEntry[], zip64 = false): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content, deflate, badCrc, localExtra = 0 } of entries) {
    const packed = deflate ? deflateRawSync(content) : Buffer.from(content);
    const label = Buffer.from(name);
    const common = Buffer.alloc(22);
    common.writeUInt16LE(0x0800, 0);
    common.writeUInt16LE(deflate ? 8 : 0, 2);
    common.writeUInt32LE((crc32(content) ^ (badCrc ? 1 : 0)) >>> 0, 8);
    common.writeUInt32LE(zip64 ? 0xffffffff : packed.length, 12);
    common.writeUInt32LE(zip64 ? 0xffffffff : content.length, 16);
    common.writeUInt16LE(label.length, 20);
    const sizes = Buffer.alloc(zip64 ? 20 : 0);
    if (zip64) {
      sizes.writeUInt16LE(1, 0);
      sizes.writeUInt16LE(16, 2);
      sizes.writeBigUInt64LE(BigInt(content.length), 4);
      sizes.writeBigUInt64LE(BigInt(packed.length), 12);
    }
    const short = (value: number) => {
      const bytes = Buffer.alloc(2);
      bytes.writeUInt16LE(value);
      return bytes;
    };
    const padding = Buffer.alloc(localExtra);
    if (localExtra > 0) {
      padding.writeUInt16LE(0x7777, 0);
      padding.writeUInt16LE(localExtra - 4, 2);
    }
    const signature = (value: number) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(value);
      return bytes;
    };
    const local = Buffer.concat([
      signature(0x04034b50),
      short(45),
      common,
      short(sizes.length + localExtra),
      label,
      sizes,
      padding,
      packed,
    ]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    directory.push(
      Buffer.concat([
        signature(0x02014b50),
        short(45),
        short(45),
        common,
        short(sizes.length),
        tail,
        label,
        sizes,
      ]),
    );
    parts.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(zip64 ? 0xffff : entries.length, 8);
  end.writeUInt16LE(zip64 ? 0xffff : entries.length, 10);
  end.writeUInt32LE(zip64 ? 0xffffffff : central.length, 12);
  end.writeUInt32LE(zip64 ? 0xffffffff : offset, 16);
  const end64 = Buffer.alloc(zip64 ? 76 : 0);
  if (zip64) {
    end64.writeUInt32LE(0x06064b50, 0);
    end64.writeBigUInt64LE(44n, 4);
    end64.writeUInt16LE(45, 12);
    end64.writeUInt16LE(45, 14);
    end64.writeBigUInt64LE(BigInt(entries.length), 24);
    end64.writeBigUInt64LE(BigInt(entries.length), 32);
    end64.writeBigUInt64LE(BigInt(central.length), 40);
    end64.writeBigUInt64LE(BigInt(offset), 48);
    end64.writeUInt32LE(0x07064b50, 56);
    end64.writeBigUInt64LE(BigInt(offset + central.length), 64);
    end64.writeUInt32LE(1, 72);
  }
  return Buffer.concat([...parts, central, end64, end]);
}

describe('zip archives', () => {
  const write = (archive: Buffer, map?: string) =>
    writeTree({ 'train.zip': archive, ...(map === undefined ? {} : { 'train_map.txt': map }) });

  it('hold what the map names, in the order of the archive', async () => {
    const root = write(
      zip([
        { name: 'n0/', content: new Uint8Array() },
        { name: 'n1/b.png', content: png, deflate: true },
        { name: 'n0/a.PNG', content: png, localExtra: 600 },
        { name: 'n0/unlisted.png', content: png },
        { name: 'n0/empty.png', content: new Uint8Array() },
        { name: '.hidden.png', content: png },
        { name: 'n0/text.txt', content: png },
        { name: '../../escape.png', content: png },
      ]),
      [
        'train.zip@/n0/a.PNG\t0',
        'train.zip@n1/b.png\t1',
        '',
        'train.zip@/gone.png\t1',
        'train.zip@.hidden.png\t0',
        'train.zip@n0/empty.png\t0',
        'train.zip@n0/text.txt\t0',
        'train.zip@../../escape.png\t0',
      ].join('\n'),
    );
    expect(imageLayout(root)).toMatchObject({ kind: 'zip', splits: ['train'] });
    const source = await openImages(root);
    expect(keys(source)).toEqual(['n1/b.png', 'n0/a.PNG']);
    expect([source.label(0), source.label(1)]).toEqual([1, 0]);
    expect(source.classes).toEqual(['n0', 'n1']);
    const worker = openShared(source.share());
    for (let i = 0; i < 2; i++) expect(Buffer.compare((await worker.read(i)) as Buffer, png)).toBe(0);
    worker.close();
  });

  it('may be zip64, and need no map', async () => {
    const root = write(
      zip(
        [
          { name: 'x/1.png', content: png, deflate: true },
          { name: 'y/2.png', content: png },
        ],
        true,
      ),
    );
    const source = await openZip(join(root, 'train.zip'));
    expect(source.classes).toEqual(['x', 'y']);
    for (let i = 0; i < 2; i++) expect(Buffer.compare((await source.read(i)) as Buffer, png)).toBe(0);
    source.close();
  });

  it('are checked: wrong CRC, cut off, no archive at all, broken map', async () => {
    const archive = zip([
      { name: 'a/1.png', content: png, badCrc: true },
      { name: 'a/2.png', content: png, deflate: true, badCrc: true },
      { name: 'a/3.png', content: png },
    ]);
    const source = await openZip(join(write(archive), 'train.zip'));
    expect(() => source.read(0)).toThrow('wrong CRC');
    expect(() => source.read(1)).toThrow('wrong CRC');
    expect(source.read(2)).toHaveLength(png.length);
    source.close();
    await expect(openImages(write(archive.subarray(0, archive.length - 40)))).rejects.toThrow(
      'cannot be read as a zip',
    );
    await expect(openImages(write(Buffer.from('hello')))).rejects.toThrow('cannot be read as a zip');
    await expect(openImages(write(archive, 'train.zip@/a/1.png zero'))).rejects.toThrow(
      'train_map.txt line 1',
    );
    await expect(openImages(write(archive, 'train.zip@/b/1.png\t0'))).rejects.toThrow('no pictures found');
  });

  it('survive any damage with an error, never a crash', async () => {
    const archive = zip([
      { name: 'a/1.png', content: png },
      { name: 'a/2.png', content: png, deflate: true },
    ]);
    let seed = 1;
    const next = (n: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % n;
    };
    const root = temporaryFolder();
    mkdirSync(join(root, 'z'));
    for (let run = 0; run < 200; run++) {
      const broken = Buffer.from(archive);
      for (let k = 0; k <= next(6); k++) broken[next(broken.length)] = next(256);
      const path = join(root, 'z', 'train.zip');
      writeFileSync(path, broken);
      try {
        const source = await openZip(path);
        for (let i = 0; i < source.length; i++) {
          try {
            await source.read(i);
          } catch (error) {
            expect(error).toBeInstanceOf(Error);
          }
        }
        source.close();
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }
  });
});
