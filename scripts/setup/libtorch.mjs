/** Finds libtorch: where ESVIT_LIBTORCH says, in Python's torch, in the system, or in our own cache. */

import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { stampOf } from './record.mjs';
import { ask, cache, SetupError, which } from './shell.mjs';

const OLDEST = [1, 13];
const API = 'torch/csrc/api/include';
const LIBRARY = 'libtorch_cpu.so';

/** Where an archive that we downloaded is unpacked. */
export const downloaded = join(cache, 'libtorch');

/** Is the choice on record still good? Looks at two files and starts no process. */
export function stillGood(libtorch, env) {
  if (libtorch === undefined || stampOf(join(libtorch.lib, LIBRARY)) !== libtorch.stamp) return false;
  // Without the variable the last choice stays, so that `ESVIT_LIBTORCH=... npm run setup` holds for `npm test`.
  const wanted = env.ESVIT_LIBTORCH;
  return !wanted || resolve(wanted) === libtorch.folder;
}

/** The first libtorch in the order of preference, or undefined; `notes` gets what was passed over and why. */
export function findLibtorch(env, notes) {
  if (env.ESVIT_LIBTORCH) return fromEnvironment(resolve(env.ESVIT_LIBTORCH));
  for (const find of [fromPython, fromSystem, fromDownload]) {
    const { found, note } = find();
    if (found !== undefined) return found;
    if (note !== undefined) notes.push(note);
  }
  return undefined;
}

function fromEnvironment(folder) {
  const result = inspect(folder, 'environment', 'ESVIT_LIBTORCH names it');
  if (result.problem !== undefined)
    throw new SetupError(
      `ESVIT_LIBTORCH is ${folder}, but ${result.problem}. Let it name a libtorch folder (one with include/ and ` +
        'lib/), or unset it to have one found.',
    );
  return result;
}

function fromPython() {
  const python = ['python3', 'python'].map((name) => which(name)).find((path) => path !== undefined);
  if (python === undefined) return {};
  // find_spec runs nothing of torch, which would take seconds.
  const folder = ask(
    python,
    '-c',
    'import importlib.util as u; s = u.find_spec("torch"); print(*(s and s.submodule_search_locations or [])[:1])',
  );
  if (!folder) return {};
  const result = inspect(folder, 'python', `it belongs to the torch of ${python}`);
  if (result.problem === undefined) return { found: result };
  return { note: `Python's torch in ${folder} is passed over: ${result.problem}.` };
}

function fromSystem() {
  const include = join('/usr/include', API);
  if (!existsSync(join(include, 'torch/torch.h'))) return {};
  const lib = ['/usr/lib64', '/usr/lib', ...folders('/usr/lib')].find((folder) =>
    existsSync(join(folder, LIBRARY)),
  );
  if (lib === undefined) return { note: `${include} has headers, but ${LIBRARY} is not below /usr/lib.` };
  const packaged = which('dpkg-query') && ask('dpkg-query', '-W', 'libtorch-dev')?.split('\t')[1];
  // Not /usr/include itself: naming it again as a system folder breaks the C++ library's #include_next.
  const result = describe({
    source: 'system',
    why: packaged ? `it is the system's package libtorch-dev ${packaged}` : 'it is installed in the system',
    folder: '/usr',
    include: [include],
    lib,
  });
  return result.problem === undefined ? { found: result } : { note: `The system's: ${result.problem}.` };
}

function folders(parent) {
  return readdirSync(parent, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(parent, name));
}

function fromDownload() {
  if (!existsSync(downloaded)) return {};
  const result = inspect(downloaded, 'download', 'it was downloaded, as none was found');
  return result.problem === undefined ? { found: result } : { note: `${downloaded}: ${result.problem}.` };
}

/** A libtorch folder's facts, or `problem`. */
export function inspect(folder, source, why) {
  const include = join(folder, 'include');
  const lib = join(folder, 'lib');
  if (!existsSync(folder)) return { problem: 'there is no such folder' };
  if (!existsSync(join(include, API, 'torch/torch.h'))) return { problem: 'it has no headers in include/' };
  if (!existsSync(join(lib, LIBRARY))) return { problem: `it has no lib/${LIBRARY}` };
  return describe({ source, why, folder, include: [include, join(include, API)], lib });
}

function describe(libtorch) {
  const version = versionOf(libtorch);
  if (version === undefined) return { problem: 'its headers name no version' };
  if (!isNewEnough(version))
    return { problem: `it is version ${version}, and esvit needs ${OLDEST.join('.')} or newer` };
  return {
    ...libtorch,
    version,
    abi: abiOf(libtorch.lib),
    cuda: existsSync(join(libtorch.lib, 'libtorch_cuda.so')),
    stamp: stampOf(join(libtorch.lib, LIBRARY)),
  };
}

export function isNewEnough(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

function versionOf({ include }) {
  // Newer ones keep the numbers in a header that the old one includes.
  const text = include
    .flatMap((folder) => [join(folder, 'torch/version.h'), join(folder, 'torch/headeronly/version.h')])
    .filter((file) => existsSync(file))
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
  return /#define TORCH_VERSION\s*\\?\s*"([^"]+)"/.exec(text)?.[1] ?? numbersOf(text);
}

function numbersOf(text) {
  const parts = ['MAJOR', 'MINOR', 'PATCH'].map(
    (part) => new RegExp(`#define TORCH_VERSION_${part} (\\d+)`).exec(text)?.[1],
  );
  return parts.includes(undefined) ? undefined : parts.join('.');
}

/**
 * Which std::string libtorch was compiled with: 1 the C++11 one, 0 the older. Read from the mangled name of
 * the constructor of c10::Error (`Ss` is the older one), as only Python's torch could tell us otherwise.
 */
function abiOf(lib) {
  const file = join(lib, 'libc10.so');
  if (!existsSync(file)) return 1;
  const symbols = readFileSync(realpathSync(file), 'latin1');
  return /_ZN3c105ErrorC[12]ENS_14SourceLocationESs/.test(symbols) ? 0 : 1;
}
