import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeSampleData, OBJECT_CLASSES } from '../../src/data/scenes/index.js';
import { UserError } from '../../src/errors.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'esvit-sample-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const small = { perClass: 3, valPerClass: 2, size: 32, seed: 5 };

function digest(root: string): string {
  const hash = createHash('sha256');
  for (const entry of readdirSync(root, { recursive: true, encoding: 'utf8' }).sort())
    if (entry.endsWith('.png')) hash.update(entry).update(readFileSync(join(root, entry)));
  return hash.digest('hex');
}

describe('makeSampleData', () => {
  it('writes DIR/train/<class> and DIR/val/<class> in the asked numbers and size', async () => {
    const heard: number[] = [];
    const result = await makeSampleData(folder, { ...small, classes: 4 }, (done, total) =>
      heard.push(done / total),
    );
    expect(result.classes).toEqual(OBJECT_CLASSES.slice(0, 4));
    expect([result.trainPictures, result.valPictures, result.reused]).toEqual([12, 8, false]);
    expect(readdirSync(join(folder, 'train')).sort()).toEqual([...result.classes].sort());
    for (const name of result.classes) {
      expect(readdirSync(join(folder, 'train', name))).toHaveLength(3);
      expect(readdirSync(join(folder, 'val', name))).toHaveLength(2);
    }
    const meta = await sharp(join(folder, 'train', 'fish', 'fish-00000.png')).metadata();
    expect([meta.width, meta.height, meta.channels]).toEqual([32, 32, 3]);
    expect(heard).toHaveLength(20);
    expect(heard.at(-1)).toBe(1);
  });

  it('gives the same bytes for a seed, others for another, and no picture twice', async () => {
    const draw = async (name: string, seed: number) => {
      await makeSampleData(join(folder, name), { ...small, classes: ['cup', 'car'], seed });
      return digest(join(folder, name));
    };
    expect(await draw('a', 1)).toBe(await draw('b', 1));
    expect(await draw('c', 2)).not.toBe(await draw('a', 1));
    const files = readdirSync(join(folder, 'a'), { recursive: true, encoding: 'utf8' }).filter((f) =>
      f.endsWith('.png'),
    );
    expect(new Set(files.map((f) => readFileSync(join(folder, 'a', f), 'base64'))).size).toBe(10);
  });

  it('keeps a finished set, completes an unfinished one and refuses any other content', async () => {
    const options = { ...small, classes: 2 };
    await makeSampleData(folder, options);
    const before = digest(folder);
    expect((await makeSampleData(folder, options)).reused).toBe(true);

    const marker = join(folder, 'sample-data.json');
    writeFileSync(marker, readFileSync(marker, 'utf8').replace('"complete": true', '"complete": false'));
    rmSync(join(folder, 'train', 'fish', 'fish-00001.png'));
    expect((await makeSampleData(folder, options)).reused).toBe(false);
    expect(digest(folder)).toBe(before);

    await expect(makeSampleData(folder, { ...options, size: 48 })).rejects.toThrow(/size 32, not 48/);
    rmSync(marker);
    await expect(makeSampleData(folder, options)).rejects.toThrow(/not empty/);
  });

  it('names what is wrong with its options', async () => {
    const refuse = (options: object) => expect(makeSampleData(join(folder, 'x'), options)).rejects;
    await refuse({ classes: ['fish', 'hous'] }).toThrow(/no class 'hous'.*Did you mean 'house'/);
    await refuse({ classes: 11 }).toThrow(/2 to 10, got 11/);
    await refuse({ classes: ['fish'] }).toThrow(/at least two/);
    await refuse({ perClass: 0 }).toThrow(/per_class/);
    await refuse({ size: 64.5 }).toThrow(/size/);
    await refuse({ variation: 2 }).toThrow(UserError);
    writeFileSync(join(folder, 'file'), '');
    await expect(makeSampleData(join(folder, 'file', 'y'), small)).rejects.toThrow(
      /a part of the path is a file/,
    );
  });
});
