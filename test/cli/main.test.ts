/** The built command as a process: it starts fast, loads no addon for its overview, and minds its exit codes. */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const MAIN = 'dist/cli/main.js';
/** Prints the native libraries of the project that the process has loaded, when it ends. */
const SPY = `data:text/javascript,${encodeURIComponent(
  `process.on('exit', () => console.error(process.report.getReport().sharedObjects.filter((f) => /esvit\\.node|torch/.test(f)).length))`,
)}`;

function esvit(...argv: string[]) {
  const started = performance.now();
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...argv], { encoding: 'utf8' });
  return { status, stdout, stderr, milliseconds: performance.now() - started };
}

describe.skipIf(!existsSync(MAIN))('esvit', () => {
  it('shows its overview at once and without libtorch', () => {
    const runs = [esvit(), esvit('--help'), esvit('--help')];
    for (const { status, stdout } of runs) {
      expect(status).toBe(0);
      expect(stdout).toContain('Commands:');
    }
    // 120 ms on an idle machine; the limit leaves room for other tests beside it.
    expect(Math.min(...runs.map(({ milliseconds }) => milliseconds))).toBeLessThan(600);
    const spied = spawnSync(process.execPath, ['--import', SPY, MAIN, '--help'], { encoding: 'utf8' });
    expect(spied.stderr.trim()).toBe('0');
  });

  it('answers mistakes with code 2 and no stack', () => {
    const { status, stdout, stderr } = esvit('trian');
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain("Unknown command 'trian'");
    expect(stderr).not.toContain('    at ');
  });

  it('prints its version', () => {
    expect(esvit('--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
