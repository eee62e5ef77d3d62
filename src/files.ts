/** Files that are never seen half written: temp file beside the target, fsync, rename, fsync of the folder. */

import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { messageOf, UserError } from './errors.js';

/**
 * Calls `write` with a function that appends bytes to a hidden file beside `path`, then puts that file into
 * place. On any failure the file that lay at `path` before is still there, untouched.
 */
export function writeAtomic(path: string, write: (append: (bytes: Uint8Array) => void) => void): void {
  const folder = dirname(path);
  const temporary = join(folder, `.${basename(path)}.${process.pid}.tmp`);
  let descriptor: number | undefined;
  try {
    descriptor = openSync(temporary, 'w');
    const file = descriptor;
    write((bytes) => {
      for (let offset = 0; offset < bytes.byteLength; )
        offset += writeSync(file, bytes, offset, Math.min(bytes.byteLength - offset, 1 << 30));
    });
    fsyncSync(descriptor);
    closeSync(descriptor);
    descriptor = undefined;
    renameDurably(temporary, path);
  } catch (error) {
    if (descriptor !== undefined) closeSync(descriptor);
    try {
      rmSync(temporary, { force: true });
    } catch {
      // where the folder itself is the trouble there is no temporary file either; the first error says more
    }
    throw diskError(path, error);
  }
}

/** A file that is written bit by bit over a long time, and is there under its name only after `commit`. */
export class AtomicFile {
  private readonly temporary: string;
  private descriptor: number | undefined;
  /** bytes written so far */
  size = 0;

  constructor(readonly path: string) {
    this.temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
    this.descriptor = this.guarded(() => openSync(this.temporary, 'w'));
  }

  append(bytes: Uint8Array): void {
    this.guarded(() => {
      for (let offset = 0; offset < bytes.byteLength; )
        offset += writeSync(this.descriptor as number, bytes, offset);
    });
    this.size += bytes.byteLength;
  }

  commit(): void {
    this.guarded(() => {
      fsyncSync(this.descriptor as number);
      closeSync(this.descriptor as number);
      this.descriptor = undefined;
      renameDurably(this.temporary, this.path);
    });
  }

  /** Leaves nothing behind; without effect after `commit`. */
  abandon(): void {
    if (this.descriptor === undefined) return;
    closeSync(this.descriptor);
    this.descriptor = undefined;
    rmSync(this.temporary, { force: true });
  }

  private guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw diskError(this.path, error);
    }
  }
}

/** `writeAtomic` for content that is at hand. */
export function writeFileAtomic(path: string, content: string | Uint8Array): void {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  writeAtomic(path, (append) => append(bytes));
}

/** Appends `text` and has it on the disk; where that fails, the file is as long as it was. */
export function appendDurably(path: string, text: string): void {
  try {
    const descriptor = openSync(path, 'a');
    try {
      const { size } = fstatSync(descriptor);
      try {
        const bytes = Buffer.from(text);
        for (let offset = 0; offset < bytes.byteLength; ) offset += writeSync(descriptor, bytes, offset);
        fsyncSync(descriptor);
      } catch (error) {
        ftruncateSync(descriptor, size);
        throw error;
      }
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw diskError(path, error);
  }
}

/** Renames within one file system, and has it on the disk before it returns. */
export function renameDurably(from: string, to: string): void {
  renameSync(from, to);
  syncFolder(dirname(to));
}

function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

const CURES: Record<string, string> = {
  ENOSPC: 'the disk is full; free some space or choose another folder',
  EDQUOT: 'the disk quota is used up; free some space or choose another folder',
  EROFS: 'the file system is read-only; choose another folder',
  EACCES: 'no permission to write there; choose another folder or change its rights',
  EPERM: 'no permission to write there; choose another folder or change its rights',
  ENOENT: 'the folder does not exist; create it first',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EISDIR: 'a folder stands in its place',
};

/** A file-system failure as a `UserError` with its cure; any other error as it is. */
export function diskError(path: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === undefined || !(code in CURES)) return error;
  return new UserError('disk', `cannot write ${path}: ${CURES[code]} (${messageOf(error)}).`, {
    cause: error,
  });
}
