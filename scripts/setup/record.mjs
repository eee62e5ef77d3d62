/** `.cache/setup.json`: which libtorch was chosen and why, and the stamp of every step that is done. */

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { cache, root } from './shell.mjs';

const path = join(cache, 'setup.json');
const FORMAT = 1;

/** { format, node, libtorch, steps: { modules, addon, types } }; empty where there is none yet. */
export function readRecord() {
  try {
    const record = JSON.parse(readFileSync(path, 'utf8'));
    if (record.format === FORMAT) return record;
  } catch {
    // Missing or damaged: the steps are done again, which is always right.
  }
  return { format: FORMAT, steps: {} };
}

export function writeRecord(record) {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify({ ...record, node: process.versions.node }, null, 2)}\n`);
  renameSync(temporary, path);
}

export function hashOf(...parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 32);
}

/** The bytes of a file, or '' where there is none. */
export function bytesOf(file) {
  try {
    return readFileSync(join(root, file));
  } catch {
    return '';
  }
}

/** All files of a folder below the root, sorted; none where there is no folder. */
export function filesOf(folder) {
  const list = (path) =>
    readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
      const child = join(path, entry.name);
      return entry.isDirectory() ? list(child) : [relative(root, child)];
    });
  try {
    return list(join(root, folder)).sort();
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Size and time of a file: enough to see that it changed, without reading it. '' where there is none. */
export function stampOf(file) {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.size}:${Math.round(stat.mtimeMs)}`;
}
