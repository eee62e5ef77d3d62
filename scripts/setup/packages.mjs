/** What set-up takes from outside: Debian's packages where it may, else the official libtorch archive. */

import { existsSync, mkdirSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { downloaded, inspect, isNewEnough } from './libtorch.mjs';
import { ask, cache, failure, logPath, readLog, run, SetupError, say, timed, which } from './shell.mjs';

const ARCHIVE =
  'https://download.pytorch.org/libtorch/cpu/libtorch-cxx11-abi-shared-with-deps-2.1.2%2Bcpu.zip';
export const LIBTORCH_PACKAGES = ['libtorch-dev', 'libgloo-dev', 'libopenblas0-openmp'];
const OLDEST_CMAKE = [3, 18];

/** The words that start apt-get here, or undefined where we may not use it. */
export function apt() {
  if (which('apt-get') === undefined) return undefined;
  const words = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get'];
  if (process.getuid?.() === 0) return words;
  return which('sudo') && ask('sudo', '-n', 'true') !== undefined ? ['sudo', '-n', ...words] : undefined;
}

/** Installs Debian packages; true if that went well. */
export async function aptInstall(words, packages) {
  const [program, ...args] = words;
  const install = () =>
    run('apt.log', program, [...args, 'install', '-y', '--no-install-recommends', ...packages], {
      append: true,
    });
  const update = () => run('apt.log', program, [...args, 'update'], { append: true });
  rmSync(logPath('apt.log'), { force: true });
  return await timed(`installing ${packages.join(', ')} with apt-get`, async () => {
    if (!hasLists()) await update();
    return (await install()) || ((await update()) && (await install()));
  });
}

function hasLists() {
  const lists = '/var/lib/apt/lists';
  return existsSync(lists) && readdirSync(lists).some((name) => name.includes('_Packages'));
}

/** Has apt a libtorch that is new enough? Fetches its lists first if it has none. */
export async function aptHasLibtorch(words) {
  const candidate = () => {
    const policy = ask('apt-cache', 'policy', LIBTORCH_PACKAGES[0]) ?? '';
    return isNewEnough(/Candidate: (\d+\.\d+)/.exec(policy)?.[1] ?? '0.0');
  };
  if (candidate()) return true;
  if (hasLists()) return false;
  await run('apt.log', words[0], [...words.slice(1), 'update']);
  return candidate();
}

export function aptFailure(packages) {
  return failure(
    'apt.log',
    'apt-get',
    `Mend that and run the command again, or install ${packages.join(' ')} yourself.`,
  );
}

/** The build tools that are missing, as Debian packages. */
export function missingTools(env) {
  const missing = [];
  if (env.CXX ? !which(env.CXX.split(' ')[0]) : !which('g++') && !which('clang++')) missing.push('g++');
  if (!which('cmake')) missing.push('cmake');
  if (!which('make') && !which('ninja')) missing.push('make');
  return missing;
}

export function toolsError(missing) {
  const names = { 'g++': 'a C++ compiler', cmake: 'cmake', make: 'make' };
  return new SetupError(
    `the native addon cannot be built without ${missing.map((name) => names[name]).join(', ')}. Install what is ` +
      `missing (Debian, Ubuntu: apt-get install ${missing.join(' ')}) and run the command again.`,
  );
}

export function checkCmake() {
  const text = ask('cmake', '--version') ?? '';
  const [major, minor] = (/(\d+)\.(\d+)/.exec(text) ?? []).slice(1).map(Number);
  if (major > OLDEST_CMAKE[0] || (major === OLDEST_CMAKE[0] && minor >= OLDEST_CMAKE[1])) return;
  throw new SetupError(
    `cmake ${OLDEST_CMAKE.join('.')} or newer is needed, but ${which('cmake')} says '${text.split('\n')[0]}'. ` +
      'Install a newer one (for example `pip install cmake`) and run the command again.',
  );
}

/**
 * What the system's libtorch still lacks, as Debian packages. Its matrix products are those of whatever stands
 * behind libblas.so.3: the reference library there is tens of times slower than OpenBLAS. The addon takes the
 * OpenBLAS that shares libtorch's threads wherever it is installed, whatever the system's choice.
 */
export function missingBesideSystem(libtorch) {
  const missing = [];
  if (!existsSync(join(libtorch.lib, 'openblas-openmp/libblas.so.3'))) missing.push('libopenblas0-openmp');
  if (!existsSync('/usr/include/gloo')) missing.push('libgloo-dev');
  return missing;
}

/** 'reference', the path of a better one, or undefined where this libtorch uses no BLAS of the system. */
export function blasOf({ source, lib }) {
  const file = join(lib, 'libblas.so.3');
  if (source !== 'system' || !existsSync(file)) return undefined;
  const path = realpathSync(file);
  return /\/blas\/libblas\.so/.test(path) || path.startsWith(join(lib, 'libblas.so')) ? 'reference' : path;
}

/** Downloads and unpacks the official CPU archive into the cache; nobody sees it half unpacked. */
export async function downloadLibtorch() {
  const cures =
    'Install libtorch yourself (Debian, Ubuntu: apt-get install ' +
    `${LIBTORCH_PACKAGES.join(' ')}; anywhere: pip install torch), or let ESVIT_LIBTORCH name a libtorch folder.`;
  if (process.arch !== 'x64')
    throw new SetupError(
      `no libtorch was found, and there is no archive of it for ${process.arch}. ${cures}`,
    );
  const unpack = unpacker();
  if (unpack === undefined)
    throw new SetupError(
      `no libtorch was found, and nothing here can unpack one (unzip, python3, bsdtar). ${cures}`,
    );
  const archive = join(cache, `libtorch.${process.pid}.zip`);
  const folder = join(cache, `libtorch.${process.pid}`);
  mkdirSync(folder, { recursive: true });
  try {
    const fetched = await timed(`downloading libtorch from ${ARCHIVE}`, () => fetchTo(archive));
    if (!fetched)
      throw new SetupError(
        'no libtorch was found and the download failed ' +
          `(${readLog('download.log').trim().split('\n').at(-1) || 'no connection'}). ${cures}`,
      );
    await timed('unpacking libtorch', async () => {
      if (!(await run('download.log', ...unpack(archive, folder))))
        throw failure('download.log', 'unpacking libtorch', cures);
    });
    const { problem } = inspect(join(folder, 'libtorch'), 'download', '');
    if (problem !== undefined)
      throw new SetupError(`the downloaded libtorch is of no use: ${problem}. ${cures}`);
    rmSync(downloaded, { recursive: true, force: true });
    renameSync(join(folder, 'libtorch'), downloaded);
  } finally {
    rmSync(archive, { force: true });
    rmSync(folder, { recursive: true, force: true });
  }
}

function unpacker() {
  if (which('unzip')) return (archive, folder) => ['unzip', ['-q', archive, '-d', folder]];
  if (which('python3')) return (archive, folder) => ['python3', ['-m', 'zipfile', '-e', archive, folder]];
  if (which('bsdtar')) return (archive, folder) => ['bsdtar', ['-xf', archive, '-C', folder]];
  return undefined;
}

/** curl first: it knows the proxies and certificates of the machine, which Node's own fetch does not. */
async function fetchTo(archive) {
  const programs = {
    curl: ['-fsSL', '--retry', '2', '--connect-timeout', '20', '-o', archive, ARCHIVE],
    wget: ['-q', '--tries=2', '--timeout=20', '-O', archive, ARCHIVE],
  };
  const name = Object.keys(programs).find((program) => which(program));
  if (name !== undefined) return await run('download.log', name, programs[name]);
  const script =
    'const [url, file] = process.argv.slice(1); const answer = await fetch(url);' +
    'if (!answer.ok) throw new Error("HTTP " + answer.status);' +
    'const { writeFile } = await import("node:fs/promises"); await writeFile(file, answer.body);';
  return await run('download.log', process.execPath, ['--input-type=module', '-e', script, ARCHIVE, archive]);
}

export function warnReferenceBlas() {
  say('WARNING: libtorch would use the reference BLAS, whose matrix products are tens of times slower.');
  say('WARNING: install OpenBLAS: apt-get install libopenblas0-openmp');
}
