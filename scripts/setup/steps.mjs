/** The steps after libtorch: npm packages, the native addon, the compiled TypeScript. Each knows if it is due. */

import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { checkCmake, missingTools, toolsError } from './packages.mjs';
import { bytesOf, filesOf, hashOf, stampOf } from './record.mjs';
import { failure, readLog, root, run, SetupError, timed, which } from './shell.mjs';

const ADDON = 'build/Release/esvit.node';
const MAIN = 'dist/cli/main.js';
const COMMAND = 'node_modules/.bin/esvit';
/** A compiler that reads libtorch's headers needs about this much. */
const BYTES_PER_COMPILER = 2 ** 31;

/** Of each step: the hash of what it is made from, whether its result is there, and how to make it. */
export const steps = {
  modules: {
    key: () => hashOf(bytesOf('package-lock.json')),
    isThere: () => existsSync(join(root, 'node_modules/.package-lock.json')),
    adopt: modulesMatchLock,
    make: installModules,
  },
  addon: {
    key: ({ libtorch }) =>
      hashOf(
        ...['CMakeLists.txt', ...filesOf('native')].flatMap((file) => [file, bytesOf(file)]),
        JSON.stringify([libtorch?.lib, libtorch?.version, libtorch?.abi, libtorch?.stamp]),
        process.versions.node.split('.')[0],
      ),
    isThere: () => existsSync(join(root, ADDON)),
    make: buildAddon,
  },
  types: {
    key: () =>
      hashOf(
        ...['tsconfig.json', 'tsconfig.build.json', ...filesOf('src')].map(
          (file) => `${file}:${stampOf(join(root, file))}`,
        ),
        bytesOf('package-lock.json'),
      ),
    isThere: () => existsSync(join(root, MAIN)) && existsSync(join(root, COMMAND)),
    make: compileTypes,
  },
};

export function isDue(name, record) {
  const { key, isThere } = steps[name];
  return !isThere() || record.steps[name]?.key !== key(record);
}

/** Someone may have run npm themselves: then there is nothing to install, only to remember. */
function modulesMatchLock() {
  try {
    const read = (file) => JSON.parse(readFileSync(join(root, file), 'utf8')).packages;
    const wanted = read('package-lock.json');
    const present = read('node_modules/.package-lock.json');
    return (
      Object.entries(wanted).every(
        ([path, { version, optional }]) =>
          path === '' || (path in present ? present[path].version === version : optional === true),
      ) && Object.keys(present).every((path) => path in wanted)
    );
  } catch {
    return false;
  }
}

async function installModules() {
  if (which('npm') === undefined)
    throw new SetupError('npm is not on the PATH. It comes with Node: install Node from https://nodejs.org.');
  await timed('installing the npm packages (npm ci)', async () => {
    // --include=dev: the TypeScript compiler is one of them, also where NODE_ENV is production.
    const ok = await run('npm.log', 'npm', ['ci', '--no-audit', '--no-fund', '--include=dev']);
    if (ok) return;
    const offline = /ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ECONNRESET|ENETUNREACH|ENOTCACHED/.exec(
      readLog('npm.log'),
    );
    if (offline !== null)
      throw new SetupError(
        `the npm packages could not be downloaded (${offline[0]}; log in .cache/npm.log). Connect this machine to ` +
          'the network (or set the proxy: npm config set proxy ...) and run the command again.',
      );
    throw failure('npm.log', 'npm ci', 'Mend what it names and run the command again.');
  });
}

/**
 * cmake-js downloads Node's headers unless package.json says `binary.napi_versions`: the addon uses Node-API alone,
 * whose headers come with the package node-api-headers. So this needs no network.
 */
async function buildAddon({ libtorch }, env) {
  const missing = missingTools(env);
  if (missing.length > 0) throw toolsError(missing);
  checkCmake();
  dropForeignCache();
  const tool = join(root, 'node_modules/cmake-js/bin/cmake-js');
  const jobs =
    Number(env.CMAKE_BUILD_PARALLEL_LEVEL) ||
    Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / BYTES_PER_COMPILER)));
  const common = [
    ...['--out', join(root, 'build/cmake'), '--parallel', String(jobs), '--generator', generator()],
    ...(env.CXX ? ['--cxx', env.CXX, '--cc', env.CC || env.CXX] : []),
    `--CDESVIT_TORCH_INCLUDE=${libtorch.include.join(';')}`,
    `--CDESVIT_TORCH_LIB=${libtorch.lib}`,
    `--CDESVIT_CXX11_ABI=${libtorch.abi}`,
    ...(env.ESVIT_NCCL ? [`--CDESVIT_NCCL=${env.ESVIT_NCCL}`] : []),
  ];
  const build = async () => {
    for (const command of ['configure', 'build']) {
      const ok = await run('build.log', process.execPath, [tool, command, ...common], {
        append: command === 'build',
      });
      if (!ok) throw buildFailure();
    }
  };
  await timed(`building the native addon for libtorch ${libtorch.version}`, build, ' (a minute or two)');
}

function buildFailure() {
  const outOfMemory = /\bKilled\b|out of memory|Cannot allocate memory|fatal error: Killed/.test(
    readLog('build.log'),
  );
  return failure(
    'build.log',
    'building the native addon',
    outOfMemory
      ? 'The memory ran out: build with one compiler at a time, CMAKE_BUILD_PARALLEL_LEVEL=1 npm run setup'
      : 'If compiler or libtorch changed, remove the folder build and run the command again.',
    20,
  );
}

const cached = (name) =>
  new RegExp(`^${name}:[^=]*=(.*)$`, 'm').exec(String(bytesOf('build/cmake/CMakeCache.txt')))?.[1];

/** A build folder that was copied or moved here, or whose build tool is gone, is worth nothing. */
function dropForeignCache() {
  const home = cached('CMAKE_HOME_DIRECTORY');
  if (home === undefined) return;
  const program = cached('CMAKE_MAKE_PROGRAM');
  if (home !== root || program === undefined || which(program) === undefined)
    rmSync(join(root, 'build/cmake'), { recursive: true, force: true });
}

function generator() {
  return cached('CMAKE_GENERATOR') ?? (which('ninja') ? 'Ninja' : 'Unix Makefiles');
}

async function compileTypes() {
  // The compiler trusts its own notes and would not write again what somebody deleted.
  if (!existsSync(join(root, MAIN))) rmSync(join(root, 'dist/.tsbuildinfo'), { force: true });
  await timed('compiling TypeScript', async () => {
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    if (!(await run('tsc.log', process.execPath, [compiler, '-p', 'tsconfig.build.json'])))
      throw failure(
        'tsc.log',
        'compiling TypeScript',
        'Mend the sources it names and run the command again.',
      );
  });
  linkCommand();
}

/**
 * npx remembers a package that it once met without its program, and would then never find `esvit` again; a link
 * beside those of the dependencies it always finds.
 */
function linkCommand() {
  chmodSync(join(root, MAIN), 0o755);
  const link = join(root, COMMAND);
  mkdirSync(dirname(link), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync(relative(dirname(link), join(root, MAIN)), link);
}
