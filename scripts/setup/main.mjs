/** The set-up from beginning to end; see setup.mjs. */

import { findLibtorch, stillGood } from './libtorch.mjs';
import { alone } from './lock.mjs';
import {
  apt,
  aptFailure,
  aptHasLibtorch,
  aptInstall,
  blasOf,
  downloadLibtorch,
  LIBTORCH_PACKAGES,
  missingBesideSystem,
  missingTools,
  toolsError,
  warnReferenceBlas,
} from './packages.mjs';
import { readRecord, writeRecord } from './record.mjs';
import { SetupError, say } from './shell.mjs';
import { isDue, steps } from './steps.mjs';

const ARGUMENTS = {
  '--find': 'look for libtorch anew',
  '--addon': 'build the addon alone: packages and dist/ were brought along',
  '--verbose': 'speak also when there is nothing to do',
};

/** Returns the exit code. */
export async function main(argv, env) {
  const unknown = argv.find((word) => !Object.hasOwn(ARGUMENTS, word));
  if (unknown !== undefined) {
    const known = Object.entries(ARGUMENTS).map(([name, meaning]) => `${name} (${meaning})`);
    say(`unknown argument ${unknown}; there are ${known.join(', ')}.`);
    return 2;
  }
  const names = Object.keys(steps).filter((name) => name === 'addon' || !argv.includes('--addon'));
  const verbose = argv.includes('--verbose') || env.npm_lifecycle_event === 'setup';
  try {
    if (process.platform !== 'linux')
      throw new SetupError(
        `esvit runs on Linux, and this is ${process.platform}. On Windows use WSL, elsewhere a container.`,
      );
    if (argv.includes('--find') || anyDue(names, readRecord(), env))
      await alone(() => setUp(names, readRecord(), env, argv.includes('--find')));
    else if (verbose) say('nothing to do.');
    return 0;
  } catch (error) {
    if (error instanceof SetupError) say(error.message);
    else say(`${error.stack}\nThis is a bug in esvit's set-up; please report it.`);
    return 1;
  }
}

function anyDue(names, record, env) {
  return !stillGood(record.libtorch, env) || names.some((name) => isDue(name, record));
}

async function setUp(names, record, env, again) {
  if (again || !stillGood(record.libtorch, env)) {
    record.libtorch = undefined;
    record.libtorch = await chooseLibtorch(env);
    writeRecord(record);
  } else if (isDue('addon', record)) await ensureTools(env);

  for (const name of names) {
    if (!isDue(name, record)) continue;
    const { key, adopt, isThere, make } = steps[name];
    const known = record.steps[name] !== undefined;
    // Off the record first: a step that is broken off midway must count as not done.
    delete record.steps[name];
    writeRecord(record);
    const started = performance.now();
    const before = key(record);
    if (known || !isThere() || adopt?.() !== true) await make(record, env);
    record.steps[name] = { key: before, seconds: Math.round(performance.now() - started) / 1000 };
    writeRecord(record);
  }
}

/** Finds libtorch or installs it, with the build tools it is useless without. */
async function chooseLibtorch(env) {
  const notes = [];
  let libtorch = findLibtorch(env, notes);
  for (const note of notes) say(note);
  const words = apt();
  const tools = missingTools(env);
  if (tools.length > 0 && words === undefined) throw toolsError(tools);

  const wanted = [...tools];
  if (libtorch === undefined) {
    if (words !== undefined && (await aptHasLibtorch(words))) wanted.push(...LIBTORCH_PACKAGES);
    else await downloadLibtorch();
  } else if (libtorch.source === 'system') wanted.push(...missingBesideSystem(libtorch));
  if (wanted.length > 0 && words !== undefined && !(await aptInstall(words, wanted))) {
    // What the system's libtorch lacks makes it slow or poor; only the rest is fatal.
    if (libtorch === undefined || missingTools(env).length > 0) throw aptFailure(wanted);
  }

  libtorch ??= findLibtorch(env, []);
  if (libtorch === undefined)
    throw new SetupError('libtorch was installed but cannot be found; name its folder in ESVIT_LIBTORCH.');
  if (blasOf(libtorch) === 'reference') warnReferenceBlas();
  const { version, lib, why, cuda } = libtorch;
  say(`using libtorch ${version} (${cuda ? 'CUDA' : 'CPU'}) in ${lib}: ${why}.`);
  return libtorch;
}

async function ensureTools(env) {
  const missing = missingTools(env);
  if (missing.length === 0) return;
  const words = apt();
  if (words === undefined) throw toolsError(missing);
  if (!(await aptInstall(words, missing))) throw aptFailure(missing);
}
