/** One set-up at a time: a file with the process id of who is at work. */

import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { cache, say, stopChildren } from './shell.mjs';

const path = join(cache, 'setup.lock');

/** Runs `work` while no other set-up of this folder runs; waits for one that does. */
export async function alone(work) {
  mkdirSync(cache, { recursive: true });
  let told = false;
  while (!take()) {
    const owner = read(path);
    if (owner === undefined) continue; // just given back
    if (isDead(owner)) {
      removeStale(owner);
      continue;
    }
    if (!told) say(`another set-up is at work here (process ${owner.pid}); waiting for it ...`);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const release = () => rmSync(path, { force: true });
  const stop = (signal) => {
    stopChildren();
    release();
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    return await work();
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
    release();
  }
}

function take() {
  // Written aside and linked into place, so that nobody reads a lock without its owner.
  const own = `${path}.${process.pid}`;
  writeFileSync(own, JSON.stringify({ pid: process.pid, host: hostname() }));
  try {
    linkSync(own, path);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(own, { force: true });
  }
}

function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) return { pid: 0 };
    throw error;
  }
}

function isDead({ pid, host }) {
  if (!(pid > 0)) return true;
  if (host !== hostname()) return false; // of another machine or container we cannot know
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}

/** Two that wait may both find the owner dead; the slower one must not remove the faster one's new lock. */
function removeStale(dead) {
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
    if (read(aside)?.pid !== dead.pid) linkSync(aside, path);
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}
