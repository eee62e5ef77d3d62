/** Who may write into a run folder: one living process at a time, whatever the ones before left behind. */

import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { Claim } from '../../src/run/index.js';

const root = mkdtempSync(join(tmpdir(), 'esvit-claim-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(root, 'run-'));
});
const lock = () => join(folder, 'run.lock');
const left = (owner: object | number | string) =>
  writeFileSync(lock(), typeof owner === 'string' ? owner : JSON.stringify(owner));

describe('a claim', () => {
  it('keeps out everybody else, this process included, until it is released', () => {
    const claim = Claim.take(folder);
    expect(JSON.parse(readFileSync(lock(), 'utf8'))).toMatchObject({ pid: process.pid, host: hostname() });
    expect(() => Claim.take(folder)).toThrow(UserError);
    expect(() => Claim.take(folder)).toThrow(new RegExp(`in use by process ${process.pid}. Wait for it`));
    claim.check();
    claim.release();
    expect(readdirSync(folder)).toEqual([]);
    Claim.take(folder).release();
  });

  it('of a process that is gone is taken over', () => {
    const { pid } = spawnSync(process.execPath, ['--version']);
    for (const owner of [{ pid, host: hostname(), token: 'x' }, pid, 'torn by a cra', '']) {
      left(owner);
      Claim.take(folder).release();
      expect(readdirSync(folder)).toEqual([]);
    }
  });

  it.skipIf(!existsSync('/proc/self/stat'))(
    'of a process whose number lives on in another is taken over',
    () => {
      left({ pid: process.pid, host: hostname(), started: 'another boot/123', token: 'x' });
      Claim.take(folder).release();
    },
  );

  it('of another machine holds as long as it is touched now and then', () => {
    left({ pid: 1, host: 'another.machine', token: 'x' });
    expect(() => Claim.take(folder)).toThrow(/in use by process 1 on another\.machine.*remove .*run\.lock/);
    const hourAgo = new Date(Date.now() - 3_600_000);
    utimesSync(lock(), hourAgo, hourAgo);
    Claim.take(folder).release();
  });

  it('that another process has taken over is noticed, and not released for it', () => {
    const claim = Claim.take(folder);
    left({ pid: 4242, host: hostname(), token: 'theirs' });
    expect(() => claim.check()).toThrow(/was taken over by process 4242/);
    claim.release();
    expect(existsSync(lock())).toBe(true);
    rmSync(lock());
    expect(() => claim.check()).toThrow(/was removed while this run was going/);
  });

  it('is won by exactly one of many that come at once, over the claim of a dead one', async () => {
    const { pid } = spawnSync(process.execPath, ['--version']);
    left({ pid, host: hostname(), token: 'dead' });
    // Each says whether it won, and lives until all have said so.
    const script = `
      const { Claim } = await import(${JSON.stringify(new URL('../../src/run/claim.ts', import.meta.url).href)});
      try { Claim.take(${JSON.stringify(folder)}); console.log('won'); } catch { console.log('lost'); }
      process.stdin.resume();
      process.stdin.on('end', () => process.exit(0));
    `;
    const cwd = fileURLToPath(new URL('../..', import.meta.url));
    const children = Array.from({ length: 4 }, () =>
      spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
        cwd,
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    );
    const words = await Promise.all(
      children.map(
        (child) =>
          new Promise<string>((resolve, reject) => {
            child.stdout.once('data', (data: Buffer) => resolve(data.toString().trim()));
            child.once('error', reject);
            child.once('exit', (code) => reject(new Error(`ended with ${code} before it said anything`)));
          }),
      ),
    );
    const gone = children.map((child) => new Promise((resolve) => child.once('close', resolve)));
    for (const child of children) child.stdin.end();
    await Promise.all(gone);
    expect(words.sort()).toEqual(['lost', 'lost', 'lost', 'won']);
  }, 240_000);
});
