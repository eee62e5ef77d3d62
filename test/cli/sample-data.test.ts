import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sampleData } from '../../src/cli/sample-data.js';
import { run } from './harness.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'esvit-cli-sample-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('esvit sample-data', () => {
  it('draws the asked classes and says where they are', async () => {
    const flags = ['--classes', 'fish, key', '--per_class', '3', '--val-per-class', '1', '--size', '32'];
    const { code, out } = await run(sampleData, 'sample-data', join(folder, 'set'), ...flags, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      classes: ['fish', 'key'],
      trainPictures: 6,
      valPictures: 2,
      reused: false,
    });
    expect(readdirSync(join(folder, 'set', 'train')).sort()).toEqual(['fish', 'key']);
    const again = await run(sampleData, 'sample-data', join(folder, 'set'), ...flags);
    expect(again.out).toContain('already holds this set');
  });

  it('ends with 2 for what it cannot draw, and with 1 for a folder that holds something else', async () => {
    const unknown = await run(sampleData, 'sample-data', join(folder, 'x'), '--classes', 'hose,key');
    expect(unknown.code).toBe(2);
    expect(unknown.err).toContain("Did you mean 'house'?");
    expect((await run(sampleData, 'sample-data', join(folder, 'x'), '--classes', ' , ')).code).toBe(2);
    expect((await run(sampleData, 'sample-data', folder, '--per_class', '2')).code).toBe(1);
  });
});
