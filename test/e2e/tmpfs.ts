/** A small disk that a test may fill: a tmpfs, where this process may mount one. */

import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Mounts `bytes` at `path`, a new folder; false where that is not permitted. */
export function mountDisk(path: string, bytes: number): boolean {
  mkdirSync(path);
  return spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path]).status === 0;
}

export function unmountDisk(path: string): void {
  spawnSync('umount', ['-l', path]);
}

export function mayMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  const folder = mkdtempSync(join(tmpdir(), 'esvit-mount-'));
  const path = join(folder, 'disk');
  const mounted = mountDisk(path, 1 << 16);
  if (mounted) unmountDisk(path);
  rmSync(folder, { recursive: true, force: true });
  return mounted;
}

/** Writes a file until nothing more fits on its disk. */
export function fillDisk(path: string): void {
  const descriptor = openSync(path, 'w');
  try {
    for (let size = 1 << 16; size >= 1; size >>= 1)
      try {
        for (;;) writeSync(descriptor, Buffer.alloc(size));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
  } finally {
    closeSync(descriptor);
  }
}
