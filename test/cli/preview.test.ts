import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { preview } from '../../src/cli/preview.js';
import { temporaryFolder, writePictures } from '../data/pictures.js';
import { run } from './harness.js';

const crops = '--global_crops_size 32 --local_crops_size 16 --local_crops_number 3'.split(' ');

describe('esvit preview', () => {
  it.each(['dino_aug', 'deit_aug --use_mixup True', 'basic_aug'])('draws a sheet of %s', async (policy) => {
    const data = await writePictures(6, 40);
    const sheet = join(temporaryFolder(), 'sheet.png');
    const flags = [...crops, '--batch_size', '4', '--pictures', '3', '--sheet', sheet, '--aug-opt'];
    const line = ['preview', '--data_path', data, ...flags, ...policy.split(' '), '--json'];
    const { code, out } = await run(preview, ...line);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ sheet, pictures: 3, views: 5, aug_opt: policy.split(' ')[0] });
    const first = readFileSync(sheet);
    const { width = 0, height = 0, format } = await sharp(first).metadata();
    expect(format).toBe('png');
    expect(width).toBeGreaterThan(3 * 112); // the picture and two global crops beside each other
    expect(height).toBeGreaterThan(3 * 112);
    if (policy === 'basic_aug') return;
    await run(preview, ...line, '--epoch', policy === 'dino_aug' ? '0' : '1');
    if (policy === 'dino_aug') expect(readFileSync(sheet)).toEqual(first);
    else expect(readFileSync(sheet)).not.toEqual(first);
  });

  it('refuses what training refuses, and writes nothing then', async () => {
    const data = await writePictures(3);
    const sheet = join(temporaryFolder(), 'sheet.png');
    const { code, err } = await run(
      preview,
      ...['preview', '--data_path', data, '--sheet', sheet, '--aug-opt', 'deit_aug', '--aa', 'rand-q3'],
    );
    expect(code).toBe(2);
    expect(err).toContain("--aa 'rand-q3': expected sections");
    expect(existsSync(sheet)).toBe(false);
    expect((await run(preview, 'preview')).err).toContain('--data_path is missing');
  });
});
