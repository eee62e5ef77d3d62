/** The row of checkpoints: what stays, what is newest, and that one is always there. */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { CheckpointFiles } from '../../src/run/index.js';

const root = mkdtempSync(join(tmpdir(), 'esvit-files-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let files: CheckpointFiles;
beforeEach(() => {
  files = new CheckpointFiles(mkdtempSync(join(root, 'run-')));
});
const save = (content: string, keep: number) => files.replace((path) => writeFileSync(path, content), keep);
const row = () =>
  Object.fromEntries(
    readdirSync(files.folder).map((name) => [name, readFileSync(join(files.folder, name), 'utf8')]),
  );

describe('checkpoints', () => {
  it('keep as many as asked for, the newest under its own name', () => {
    for (const content of ['a', 'b', 'c', 'd']) save(content, 3);
    expect(row()).toEqual({
      'checkpoint.pth': 'd',
      'checkpoint_prev1.pth': 'c',
      'checkpoint_prev2.pth': 'b',
    });
    save('e', 2);
    expect(row()).toEqual({ 'checkpoint.pth': 'e', 'checkpoint_prev1.pth': 'd' });
    save('f', 1);
    expect(row()).toEqual({ 'checkpoint.pth': 'f' });
  });

  it('stay what they were under their second names', () => {
    save('a', 1);
    files.keepNewestAs(files.kept(10));
    files.keepNewestAs(files.best);
    save('b', 1);
    files.keepNewestAs(files.best);
    expect(row()).toEqual({ 'checkpoint.pth': 'b', 'checkpoint0010.pth': 'a', 'checkpoint_best.pth': 'b' });
  });

  it('are tried newest first, the best not at all', () => {
    for (const content of ['a', 'b', 'c']) save(content, 3);
    for (const epoch of [0, 5, 10_000]) files.keepNewestAs(files.kept(epoch));
    files.keepNewestAs(files.best);
    writeFileSync(join(files.folder, 'checkpoint_linear.pth'), 'of somebody else');
    expect(files.candidates().map((path) => basename(path))).toEqual([
      'checkpoint.pth',
      ...['checkpoint_prev1.pth', 'checkpoint_prev2.pth'],
      ...['checkpoint10000.pth', 'checkpoint0005.pth', 'checkpoint0000.pth'],
    ]);
  });

  it('are as they were after a save that fails, half written or not at all', () => {
    save('a', 2);
    save('b', 2);
    const before = row();
    const failing = (path: string) => {
      writeFileSync(path, 'half');
      throw new Error('the machine is on fire');
    };
    for (let i = 0; i < 3; i++) expect(() => files.replace(failing, 2)).toThrow('on fire');
    expect(row()).toEqual(before);
  });

  it('that cannot be read are put aside', () => {
    save('a', 2);
    save('b', 2);
    files.setAside(files.newest);
    expect(existsSync(files.newest)).toBe(false);
    expect(files.candidates()).toEqual([files.previous(1)]);
    save('c', 2);
    expect(row()).toEqual({
      'checkpoint.pth': 'c',
      'checkpoint_prev1.pth': 'a',
      'checkpoint_broken.pth': 'b',
    });
  });
});
