/** A small project around the real set-up scripts: its compilers, npm and libtorch are stand-ins that answer at once. */

import { execFile } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const scripts = fileURLToPath(new URL('../../scripts', import.meta.url));

const LOCK = { packages: { '': { version: '0.1.0' }, 'node_modules/one': { version: '1.0.0' } } };

/** Notes how it was called, waits if told to, and makes the file that is expected of it. */
const tool = (name: string, result: string, when = 'true') => `
const fs = require('node:fs');
fs.appendFileSync('calls.log', ['${name}', ...process.argv.slice(2)].join(' ') + '\\n');
if (fs.existsSync('break-${name}')) { console.log(fs.readFileSync('break-${name}', 'utf8')); process.exit(1); }
if (fs.existsSync('slow-${name}')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
if (${when}) {
  fs.mkdirSync(require('node:path').dirname('${result}'), { recursive: true });
  fs.writeFileSync('${result}', '');
}`;

export class Project {
  readonly folder = mkdtempSync(join(tmpdir(), 'esvit-setup-'));
  readonly libtorch = join(this.folder, 'libtorch');

  constructor() {
    cpSync(join(scripts, 'setup.mjs'), join(this.folder, 'scripts/setup.mjs'));
    cpSync(join(scripts, 'setup'), join(this.folder, 'scripts/setup'), { recursive: true });
    this.write('package-lock.json', JSON.stringify(LOCK));
    this.write('node_modules/.package-lock.json', JSON.stringify(LOCK));
    this.write('CMakeLists.txt', 'project(x)');
    this.write('native/a.cc', 'int a;');
    this.write('src/a.ts', 'export {};');
    this.write('tsconfig.json', '{}');
    const isBuild = "process.argv.includes('build')";
    this.write('node_modules/cmake-js/bin/cmake-js', tool('cmake-js', 'build/Release/esvit.node', isBuild));
    this.write('node_modules/typescript/bin/tsc', tool('tsc', 'dist/cli/main.js'));
    this.write('npm.cjs', tool('npm', 'node_modules/.package-lock.json'));
    this.program('npm', `exec "${process.execPath}" npm.cjs "$@"`);
    this.program('g++', 'exit 1');
    this.program('cmake', 'echo cmake version 3.25.1');
    this.program('make', 'exit 1');
    this.addLibtorch('libtorch', '2.1.2');
  }

  write(path: string, content: string): void {
    const full = join(this.folder, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, content);
  }

  remove(path: string): void {
    rmSync(join(this.folder, path), { recursive: true });
  }

  has(path: string): boolean {
    return existsSync(join(this.folder, path));
  }

  /** A program on the PATH, as a line of shell. */
  program(name: string, line: string): void {
    this.write(`bin/${name}`, `#!/bin/sh\n${line}\n`);
    chmodSync(join(this.folder, 'bin', name), 0o755);
  }

  addLibtorch(folder: string, version: string, symbols = 'NSt7__cxx1112basic_string'): void {
    const api = `${folder}/include/torch/csrc/api/include/torch`;
    this.write(`${api}/torch.h`, '');
    this.write(`${api}/version.h`, `#define TORCH_VERSION \\\n  "${version}"\n`);
    this.write(`${folder}/lib/libtorch_cpu.so`, '');
    this.write(`${folder}/lib/libc10.so`, `\0_ZN3c105ErrorC1ENS_14SourceLocationE${symbols}\0`);
  }

  /** What the stand-ins were called with since the last time. */
  calls(): string[] {
    const log = join(this.folder, 'calls.log');
    if (!existsSync(log)) return [];
    const lines = readFileSync(log, 'utf8').trim().split('\n');
    rmSync(log);
    return lines;
  }

  record() {
    return JSON.parse(readFileSync(join(this.folder, '.cache/setup.json'), 'utf8')) as {
      libtorch: { source: string; why: string; version: string; abi: number };
      steps: Record<string, unknown>;
    };
  }

  /** Runs the set-up. Only this project's programs are on the PATH; `nodeFlags` go to Node. */
  run(env: Record<string, string> = {}, args: string[] = [], nodeFlags: string[] = []) {
    const started = performance.now();
    return new Promise<{ code: number; err: string; out: string; seconds: number }>((resolve) => {
      const child = execFile(
        process.execPath,
        [...nodeFlags, join(this.folder, 'scripts/setup.mjs'), ...args],
        { env: { PATH: join(this.folder, 'bin'), ESVIT_LIBTORCH: this.libtorch, ...env } },
        (_error, out, err) =>
          resolve({ code: child.exitCode ?? -1, out, err, seconds: (performance.now() - started) / 1000 }),
      );
    });
  }

  destroy(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
