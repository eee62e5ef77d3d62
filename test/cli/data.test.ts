import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { data } from '../../src/cli/data.js';
import { makeSampleData } from '../../src/data/scenes/index.js';
import { run } from './harness.js';

let folder: string;
let pictures: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'esvit-cli-data-'));
  pictures = join(folder, 'pictures');
  await makeSampleData(pictures, {
    classes: ['fish', 'key'],
    perClass: 4,
    valPerClass: 1,
    size: 32,
    seed: 1,
  });
  writeFileSync(join(pictures, 'train/fish/broken.png'), 'nothing');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const check = (path: string, ...flags: string[]) =>
  run(data, 'data', 'check', path, '--speed', 'False', '--json', ...flags);

describe('esvit data', () => {
  it('packs both splits, and what it packed is what was there', async () => {
    for (const format of ['zip', 'tsv', 'tar']) {
      const output = join(folder, format);
      const packed = await run(
        data,
        'data',
        'pack',
        pictures,
        output,
        '--format',
        format,
        '--max_side',
        '16',
      );
      expect(packed.code, packed.err).toBe(0);
      expect(packed.err).toContain('left out fish/broken.png');
      expect(packed.out).toContain('val: 2 pictures');
      const { code, out } = await check(output);
      expect(code).toBe(0);
      expect(JSON.parse(out)).toMatchObject({
        layout: format,
        train: { images: 8, classes: 2, unreadable: [], duplicates: [], smallest: 16, largest: 16 },
        val: { images: 2, classes: 2 },
      });
    }
  });

  it('names what cannot be read, and measures whether the training would wait', async () => {
    const { out } = await check(pictures);
    expect(JSON.parse(out)).toMatchObject({
      layout: 'folder',
      train: { images: 9, unreadable: [{ key: 'fish/broken.png' }] },
    });
    const said = await run(data, 'data', 'check', pictures, '--needed', '1000000000', '--workers', '1');
    expect(said.out).toContain('fish/broken.png: ');
    expect(said.out).toContain('the training would wait for the data');
  });

  it('ends with 2 for what it cannot do', async () => {
    expect((await run(data, 'data', 'pack', pictures)).code).toBe(2);
    expect((await run(data, 'data', 'pack', pictures, pictures)).code).toBe(2);
    expect((await run(data, 'data', 'chek', pictures)).code).toBe(2);
    expect((await run(data, 'data', 'check', join(folder, 'none'))).code).toBe(1);
  });
});
