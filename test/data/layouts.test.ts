import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { type ImageSource, imageLayout, layoutAsked, openImages } from '../../src/data/index.js';
import { openShared } from '../../src/data/source.js';
import { encode, render, temporaryFolder, writeTree } from './pictures.js';

/** Five pictures of different bytes. */
let pictures: Buffer[];
beforeAll(async () => {
  pictures = await Promise.all([1, 2, 3, 4, 5].map((seed) => encode(render(6 + seed, 8, seed), 'jpeg')));
});

const base64 = (i: number) => pictures[i].toString('base64');
const all = <T>(source: ImageSource, of: (i: number) => T) =>
  Array.from({ length: source.length }, (_, i) => of(i));

/** [key, label, which of the five pictures] of a source, read through the eyes of a worker too. */
async function content(source: ImageSource): Promise<[string, number, number][]> {
  const worker = openShared(structuredClone(source.share()));
  const found: [string, number, number][] = [];
  for (let i = 0; i < source.length; i++) {
    const bytes = Buffer.from(await source.read(i));
    expect(Buffer.compare(bytes, Buffer.from(await worker.read(i)))).toBe(0);
    expect([worker.key(i), worker.length]).toEqual([source.key(i), source.length]);
    found.push([source.key(i), source.label(i), pictures.findIndex((picture) => picture.equals(bytes))]);
  }
  worker.close();
  source.close();
  return found;
}

describe('a single TSV', () => {
  const rows = () => [0, 1, 2, 3, 4].map((i) => `key${i}\t${(i * 2) % 3}\t${base64(i)}\n`).join('');

  it('gets its line index when it has none, and keeps it', async () => {
    const root = writeTree({ 'train.tsv': rows() });
    expect(imageLayout(root)).toMatchObject({ kind: 'tsv', splits: ['train'] });
    const source = await openImages(root);
    expect(source.description).toBe('TSV train.tsv with labels');
    expect([source.labelKind, source.classes]).toEqual(['single', ['0', '1', '2']]);
    expect(source.description).toBe('TSV train.tsv with 3 classes');
    expect(await content(source)).toEqual([0, 1, 2, 3, 4].map((i) => [`key${i}`, (i * 2) % 3, i]));
    const index = readFileSync(join(root, 'train.lineidx'), 'utf8');
    const begins = rows().split('\n').slice(0, -1);
    let at = 0;
    expect(index.split('\n').slice(0, -1).map(Number)).toEqual(
      begins.map((line) => {
        at += line.length + 1;
        return at - line.length - 1;
      }),
    );
    expect((await openImages(join(root, 'train.tsv'))).length).toBe(5);
  });

  it('may end without a line end, have Windows ones, and rows of any length', async () => {
    const large = await encode(render(400, 400, 9), 'png');
    const root = writeTree({
      'train.tsv': `a\t1\t${base64(0)}\r\nb\t0\t${large.toString('base64')}\r\n\r\nc\t1\t${base64(1)}`,
    });
    const source = await openImages(root);
    expect(all(source, (i) => source.key(i))).toEqual(['a', 'b', 'c']);
    expect(large.equals(source.read(1) as Buffer)).toBe(true);
    expect(pictures[1].equals(source.read(2) as Buffer)).toBe(true);
    expect(source.label(1)).toBe(0);
    source.close();
  });

  it('gives the rows of its .linelist, sorted', async () => {
    const root = writeTree({ 'train.tsv': rows(), 'train.linelist': '4\n1\n1\n' });
    expect(await content(await openImages(root))).toEqual([
      ['key1', 2, 1],
      ['key1', 2, 1],
      ['key4', 2, 4],
    ]);
    writeFileSync(join(root, 'train.linelist'), '5\n');
    await expect(openImages(root)).rejects.toThrow('train.linelist line 1');
  });

  it('may have names, JSON, or nothing for labels', async () => {
    const named = writeTree({
      'train.tsv': `a\tzebra\t${base64(0)}\nb\tant\t${base64(1)}\nc\tzebra\t${base64(2)}\n`,
    });
    const source = await openImages(named);
    expect(source.classes).toEqual(['ant', 'zebra']);
    expect(all(source, (i) => source.label(i))).toEqual([1, 0, 1]);
    expect(openShared(source.share()).label(0)).toBe(1);
    const json = writeTree({ 'train.tsv': `a\t[{"class": "x"}]\t${base64(0)}\nb\t[{]\t${base64(1)}\n` });
    const second = await openImages(json);
    expect(second.classes).toContain('x');
    const plain = writeTree({ 'train.tsv': `a\t${base64(0)}\nb\t${base64(1)}\n` });
    const third = await openImages(plain);
    expect([third.labelKind, third.classes, third.description]).toEqual([
      'none',
      [],
      'TSV train.tsv without labels',
    ]);
    expect(await content(third)).toEqual([
      ['a', -1, 0],
      ['b', -1, 1],
    ]);
    const unlabelled = await openImages(named, { labels: 'none' });
    expect([unlabelled.labelKind, unlabelled.label(0)]).toEqual(['none', -1]);
  });

  it('tells a line index that does not fit from one that does', async () => {
    const root = writeTree({ 'train.tsv': rows(), 'train.lineidx': '0\n7\n' });
    await expect(openImages(root)).rejects.toThrow('does not fit train.tsv');
    writeFileSync(join(root, 'train.lineidx'), '0\nseven\n');
    await expect(openImages(root)).rejects.toThrow('line 2: expected the place of a row');
    writeFileSync(join(root, 'train.lineidx'), '0\n99999999\n');
    await expect(openImages(root)).rejects.toThrow('Delete it');
    await expect(openImages(writeTree({ 'train.tsv': 'no tabs here\n' }))).rejects.toThrow('parted by tabs');
    await expect(openImages(writeTree({ 'train.tsv': '' }))).rejects.toThrow('no rows found');
  });

  it('names its rows when it has vanished', async () => {
    const root = writeTree({ 'train.tsv': rows() });
    const source = openShared((await openImages(root)).share());
    rmSync(join(root, 'train.tsv'));
    expect(() => source.read(1)).toThrow('ENOENT');
    expect(source.key(0)).toBe('train.tsv row at byte 0');
  });
});

describe('TSVs of ImageNet-22K', () => {
  const row = (key: string, name: string, i: number) =>
    `${key}\t[{"class": "${name}", "rect": [0, 0, 1, 1]}]\t${base64(i)}\n`;

  it('follow .chunks in their order, .linelist, and the label map', async () => {
    const root = writeTree({
      'labelmap_22k_reorder.txt': 'n2\t0\n7\t2\nn1\t1\n',
      'train/b.tsv': row('b0', 'n1', 0) + row('b1', 'n1', 1) + row('b2', '7', 2) + row('b3', 'gone', 3),
      'train/b.chunks': '{"n1": [0, 1], "gone": [3, 9], "7": [2, 2]}',
      'train/b.linelist': '2\n1\n3\n',
      'train/a.tsv': row('a0', 'n2', 4) + row('a1', 'gone', 0),
    });
    expect(imageLayout(root).kind).toBe('imagenet22k');
    const source = await openImages(root);
    expect(source.classes).toEqual(['n2', 'n1', '7']);
    expect(source.chunks).toEqual([2, 2]);
    expect(await content(source)).toEqual([
      ['a.tsv/a0', 0, 4],
      ['a.tsv/a1', -1, 0],
      ['b.tsv/b1', 1, 1],
      ['b.tsv/b2', 2, 2],
    ]);
    rmSync(join(root, 'labelmap_22k_reorder.txt'));
    expect(imageLayout(root).kind).toBe('tsv');
    await expect(openImages(root, { layout: 'imagenet22k' })).rejects.toThrow('labelmap_22k_reorder.txt');
  });

  it('are explained where they are broken', async () => {
    const files = { 'labelmap_22k_reorder.txt': 'n1\t0\n', 'train/a.tsv': row('a', 'n1', 0) };
    const broken = (more: Record<string, string>) => openImages(writeTree({ ...files, ...more }));
    await expect(broken({ 'train/a.chunks': '{"n1": [0, 1]}' })).rejects.toThrow("the rows of 'n1' end at 1");
    await expect(broken({ 'train/a.chunks': '{"n1": 3}' })).rejects.toThrow('but "n1" has 3');
    await expect(broken({ 'train/a.chunks': '[' })).rejects.toThrow('expected a JSON object');
    await expect(broken({ 'labelmap_22k_reorder.txt': 'n1 0\n' })).rejects.toThrow('line 1: expected');
  });
});

describe('OpenImages-v4', () => {
  it('gives rows of the balanced index, with all the labels of each', async () => {
    const line = (i: number) => `k${i}\t[]\t${base64(i)}\n`;
    const tsv = [0, 1, 2].map(line).join('');
    const root = writeTree({
      'train.tsv': tsv,
      'train.balance_min1000.lineidx': `${line(0).length}\n0\n${line(0).length}\n${(line(0) + line(1)).length}\n`,
      'train.label.verify_20191102.tsv': [
        'k1\t/m/b;/m/a;-/m/c;/m/none',
        'k0\t[{"class": "/m/c"}, {"class": "-/m/b"}, {"class": "/m/c"}]',
        'k9\t',
      ].join('\n'),
      'train.label.verify_20191102.6962.tag.labelmap': '/m/a\n/m/b\n/m/c\n',
    });
    const source = await openImages(root);
    expect([imageLayout(root).kind, source.labelKind, source.classes.length]).toEqual([
      'openimages_v4',
      'multiple',
      3,
    ]);
    expect(all(source, (i) => [source.key(i), source.labels(i), source.label(i)])).toEqual([
      ['k1', [0, 1], -1],
      ['k0', [2], -1],
      ['k1', [0, 1], -1],
      ['k2', [], -1],
    ]);
    expect((await content(source)).map(([, , i]) => i)).toEqual([1, 0, 1, 2]);
    rmSync(join(root, 'train.label.verify_20191102.tsv'));
    await expect(openImages(root)).rejects.toThrow('train.label.verify_20191102.tsv is not there');
  });
});

describe('WebVision-v1', () => {
  it('follows its two lists; the later label of a path counts, those from 1000 on are left out', async () => {
    const root = writeTree({
      'google/a.jpg': pictures[0],
      'flickr/b.jpg': pictures[1],
      'info/train_filelist_google.txt': 'google/a.jpg 3\ngoogle/no.jpg 1000\n',
      'info/train_filelist_flickr.txt': 'flickr/b.jpg 4\ngoogle/a.jpg 999\n',
    });
    expect(imageLayout(root).kind).toBe('webvision1');
    const source = await openImages(root);
    expect(source.classes).toHaveLength(1000);
    expect(await content(source)).toEqual([
      ['google/a.jpg', 999, 0],
      ['flickr/b.jpg', 4, 1],
      ['google/a.jpg', 999, 0],
    ]);
    writeFileSync(join(root, 'info/train_filelist_flickr.txt'), 'flickr/b.jpg\n');
    await expect(openImages(root)).rejects.toThrow("train_filelist_flickr.txt line 1: expected 'path label'");
  });
});

describe('lists', () => {
  it('hold paths, with numbers or names for labels', async () => {
    const root = writeTree({
      'in/a b.jpg': pictures[0],
      'in/c.jpg': pictures[1],
      'in/d,1.jpg': pictures[2],
      'train.txt': 'in/a b.jpg 2\n# a remark\nin/c.jpg 0\n\n',
      'val.csv': 'path,label\n"in/d,1.jpg",dog\nin/c.jpg,"a ""cat"""\n',
    });
    expect(imageLayout(root)).toMatchObject({ kind: 'list', splits: ['train', 'val'] });
    const train = await openImages(root);
    expect(train.classes).toEqual(['0', '1', '2']);
    expect(await content(train)).toEqual([
      ['in/a b.jpg', 2, 0],
      ['in/c.jpg', 0, 1],
    ]);
    const val = await openImages(root, { split: 'val' });
    expect([val.classes, val.description]).toEqual([['a "cat"', 'dog'], 'list val.csv with 2 classes']);
    expect((await content(val)).map(([, label, i]) => [label, i])).toEqual([
      [1, 2],
      [0, 1],
    ]);
    const outside = writeTree({ 'some.lst': `${join(root, 'in/c.jpg')}\n` });
    const plain = await openImages(join(outside, 'some.lst'));
    expect(await content(plain)).toEqual([[join(root, 'in/c.jpg'), -1, 1]]);
    await expect(openImages(join(writeTree({ 'x.txt': 'a.jpg\n' }), 'x.txt'))).rejects.toThrow(
      'none of the first 1 files',
    );
  });
});

/** A tar archive of entries; content undefined makes a symbolic link. */
async function tar(entries: readonly { name: string; content?: Uint8Array | string }[]): Promise<Buffer> {
  const archive = pack();
  for (const { content, ...header } of entries)
    if (content === undefined) archive.entry({ ...header, type: 'symlink', linkname: 'x' });
    else archive.entry(header, Buffer.from(content));
  archive.finalize();
  const parts: Buffer[] = [];
  for await (const part of archive) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

describe('tar shards', () => {
  it('give one picture a sample, with the label beside it, shard by shard', async () => {
    const long = `${'d/'.repeat(90)}${'n'.repeat(120)}`;
    const root = writeTree({
      'train-000001.tar': await tar([
        { name: './z.json', content: '{}' },
        { name: './z.jpg', content: pictures[0] },
        { name: './z.cls', content: '1\n' },
        { name: './z.seg.png', content: pictures[4] },
        { name: `${long}.JPEG`, content: pictures[1] },
        { name: `${long}.cls`, content: '0' },
      ]),
      'train-000000.tar': await tar([
        { name: 'a.cls', content: '2' },
        { name: 'a.jpg', content: pictures[2] },
        { name: '../out.jpg', content: pictures[3] },
        { name: '/root.jpg', content: pictures[3] },
        { name: 'link.jpg' },
        { name: '.hidden.jpg', content: pictures[3] },
        { name: 'empty.jpg', content: '' },
        { name: 'b.txt', content: 'x'.repeat(5000) },
        { name: 'b.jpg', content: pictures[3] },
      ]),
      'classes.txt': 'ant\nbee\ncat\n',
    });
    expect(imageLayout(root)).toMatchObject({ kind: 'tar', splits: ['train'] });
    const source = await openImages(root);
    expect([source.classes, source.chunks]).toEqual([
      ['ant', 'bee', 'cat'],
      [2, 2],
    ]);
    expect(source.description).toBe('2 tar shards with 3 classes');
    expect(await content(source)).toEqual([
      ['train-000000.tar/a.jpg', 2, 2],
      ['train-000000.tar/b.jpg', -1, 3],
      ['train-000001.tar/z.jpg', 1, 0],
      [`train-000001.tar/${long}.JPEG`, 0, 1],
    ]);
  });

  it('may be one archive of class folders, and are checked', async () => {
    const whole = await tar([
      { name: 'x/1.v2.jpg', content: pictures[0] },
      { name: 'x/1.v3.jpg', content: pictures[1] },
      { name: 'y/2.jpg', content: pictures[2] },
    ]);
    const root = temporaryFolder();
    mkdirSync(join(root, 'train'));
    const path = join(root, 'train/0.tar');
    writeFileSync(path, whole);
    const source = await openImages(root);
    expect(source.classes).toEqual(['x', 'y']);
    expect((await content(source)).map(([, label, i]) => [label, i])).toEqual([
      [0, 0],
      [0, 1],
      [1, 2],
    ]);
    writeFileSync(path, whole.subarray(0, 512 + 100));
    const cut = await openImages(path);
    expect(() => cut.read(0)).toThrow('ends inside the picture');
    cut.close();
    writeFileSync(path, Buffer.concat([Buffer.from('x'), whole]));
    await expect(openImages(root)).rejects.toThrow('no tar header at byte 0');
    await expect(openImages(join(writeTree({ 'a.tar.gz': 'x' }), 'a.tar.gz'))).rejects.toThrow(
      'compressed tar',
    );
  });
});

describe('the flags for a layout', () => {
  it('are those of the original', () => {
    expect(layoutAsked({ dataset: 'imagenet1k' })).toBeUndefined();
    expect(layoutAsked({ dataset: 'imagenet1k', zip_mode: true })).toBe('zip');
    expect(layoutAsked({ dataset: 'imagenet1k', tsv_mode: true })).toBe('tsv');
    expect(layoutAsked({ dataset: 'imagenet22k', tsv_mode: true })).toBe('imagenet22k');
    expect(layoutAsked({ dataset: 'webvision1' })).toBe('webvision1');
    expect(layoutAsked({ dataset: 'openimages_v4' })).toBe('openimages_v4');
    expect(() => layoutAsked({ zip_mode: true, tsv_mode: true })).toThrow('exclude each other');
  });

  it('are not needed: a few odd files beside class folders change nothing', () => {
    const stray = { 'train/notes.tsv': 'x', 'train/list.txt': 'x', 'train.txt': 'x', 'old.tar': 'x' };
    const root = writeTree({ 'train/a/1.jpg': pictures[0], 'val/a/1.jpg': pictures[1], ...stray });
    expect(imageLayout(root)).toMatchObject({ kind: 'folder', splits: ['train', 'val'] });
    const shards = writeTree({ 'train-0.tar': 'x', 'val-0.tar': 'x', 'runs/log.txt': 'x' });
    expect(imageLayout(shards)).toMatchObject({ kind: 'tar', splits: ['train', 'val'] });
  });

  it('are told what is missing', async () => {
    const root = writeTree({ 'a/1.jpg': pictures[0] });
    for (const [layout, message] of [
      ['tsv', 'expected train.tsv'],
      ['imagenet22k', 'expected labelmap_22k_reorder.txt'],
      ['webvision1', 'expected info/train_filelist_google.txt'],
      ['openimages_v4', 'expected train.tsv, train.balance_min1000.lineidx'],
      ['tar', 'expected train.tar'],
      ['list', 'expected train.txt'],
    ] as const)
      await expect(openImages(root, { layout }), layout).rejects.toThrow(message);
    expect(existsSync(join(root, 'a/1.jpg'))).toBe(true);
  });
});
