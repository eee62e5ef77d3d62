/** Where things lie, how set-up speaks, and how it runs other programs. */

import { spawn, spawnSync } from 'node:child_process';
import { accessSync, closeSync, constants, mkdirSync, openSync, readFileSync, statSync } from 'node:fs';
import { delimiter, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
export const cache = join(root, '.cache');

/** What a person can cure; printed without a stack. */
export class SetupError extends Error {}

export function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}

/** Says what is done, does it, and says how long it took. `about` is said beforehand. */
export async function timed(what, work, about = '') {
  say(`${what}${about} ...`);
  const started = performance.now();
  const result = await work();
  say(`${what}: done in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return result;
}

/** The full path of a program on the PATH, or undefined. */
export function which(program, path = process.env.PATH ?? '') {
  if (program.includes('/')) return isProgram(program) ? program : undefined;
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, program))
    .find(isProgram);
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** What a short program printed, or undefined where it is missing or failed. */
export function ask(program, ...args) {
  const { status, stdout } = spawnSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: 60_000,
  });
  return status === 0 ? stdout.trim() : undefined;
}

const children = new Set();

/** Runs a program with all it prints going to `.cache/<log>`; true if it succeeded. */
export async function run(log, program, args, { append = false } = {}) {
  mkdirSync(cache, { recursive: true });
  const file = openSync(logPath(log), append ? 'a' : 'w');
  try {
    const child = spawn(program, args, {
      cwd: root,
      stdio: ['ignore', file, file],
      detached: true, // a process group of its own, so that its compilers can be stopped with it
    });
    if (child.pid !== undefined) children.add(child);
    return await new Promise((resolve) => {
      child.on('error', () => resolve(false));
      child.on('close', (code) => {
        children.delete(child);
        resolve(code === 0);
      });
    });
  } finally {
    closeSync(file);
  }
}

/** An interrupted set-up takes what it started with it. */
export function stopChildren() {
  for (const { pid } of children)
    try {
      process.kill(-pid, 'SIGTERM');
    } catch {
      // It has ended by itself.
    }
}

export function logPath(log) {
  return join(cache, log);
}

export function readLog(log) {
  try {
    return readFileSync(logPath(log), 'utf8');
  } catch {
    return '';
  }
}

/** The error of a failed program: the end of its log, where the rest is, and the cure. */
export function failure(log, what, cure, lines = 12) {
  const tail = readLog(log)
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-lines)
    .map((line) => `  | ${line.slice(0, 300)}`);
  return new SetupError(
    [`${what} failed; the whole log is ${relative(root, logPath(log))}.`, ...tail, cure].join('\n'),
  );
}
