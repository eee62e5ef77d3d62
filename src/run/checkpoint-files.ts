/** The checkpoint files of a run folder: the newest, those before it, the best, and those that stay. */

import { copyFileSync, existsSync, linkSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { diskError, renameDurably } from '../files.js';

const NEWEST = 'checkpoint.pth';
const PREVIOUS = /^checkpoint_prev(\d+)\.pth$/;
const KEPT = /^checkpoint(\d{4,})\.pth$/;

/**
 * `checkpoint.pth` is the newest state, `checkpoint_prev1.pth` the one before and so on, `checkpoint_best.pth` the
 * best one, `checkpoint0010.pth` one that stays. At every moment at least one whole file is there once one was.
 */
export class CheckpointFiles {
  constructor(readonly folder: string) {}

  get newest(): string {
    return join(this.folder, NEWEST);
  }

  get best(): string {
    return join(this.folder, 'checkpoint_best.pth');
  }

  /** Where a file goes that could not be read, in case somebody wants to know why. */
  get broken(): string {
    return join(this.folder, 'checkpoint_broken.pth');
  }

  /** A state that stays: that of the end of epoch `epoch`, counted from 0. */
  kept(epoch: number): string {
    return join(this.folder, `checkpoint${String(epoch).padStart(4, '0')}.pth`);
  }

  previous(number: number): string {
    return join(this.folder, `checkpoint_prev${number}.pth`);
  }

  /** What a run may go on from, newest first. */
  candidates(): string[] {
    const names = existsSync(this.folder) ? readdirSync(this.folder) : [];
    const numbered = (pattern: RegExp) =>
      names.flatMap((name) => {
        const match = pattern.exec(name);
        return match === null ? [] : [{ name, number: Number(match[1]) }];
      });
    const previous = numbered(PREVIOUS).sort((a, b) => a.number - b.number);
    const kept = numbered(KEPT).sort((a, b) => b.number - a.number);
    return [
      ...names.filter((name) => name === NEWEST),
      ...[...previous, ...kept].map(({ name }) => name),
    ].map((name) => join(this.folder, name));
  }

  /** Puts what `write` makes into the newest place; of the files before, `keep` - 1 stay as previous ones. */
  replace(write: (path: string) => void, keep: number): void {
    mkdirSync(this.folder, { recursive: true });
    const fresh = join(this.folder, '.checkpoint.new.pth');
    try {
      write(fresh); // whole and on the disk before anything else is touched
      this.rotate(keep);
      renameDurably(fresh, this.newest);
    } catch (error) {
      rmSync(fresh, { force: true });
      throw diskError(this.newest, error);
    }
  }

  /** Gives the newest file a second name, which stays when the newest is replaced. */
  keepNewestAs(path: string): void {
    const fresh = join(this.folder, '.checkpoint.kept.pth');
    try {
      rmSync(fresh, { force: true });
      try {
        linkSync(this.newest, fresh);
      } catch {
        copyFileSync(this.newest, fresh); // a file system without links
      }
      renameDurably(fresh, path);
    } catch (error) {
      rmSync(fresh, { force: true });
      throw diskError(path, error);
    }
  }

  /** Takes a file that cannot be read out of the row. */
  setAside(path: string): void {
    try {
      renameDurably(path, this.broken);
    } catch (error) {
      throw diskError(this.broken, error);
    }
  }

  /** Removes what a killed process has left half written; only for who has claimed the folder. */
  clean(): void {
    for (const name of readdirSync(this.folder))
      if (/^\..*\.tmp$/.test(name) || /^\.checkpoint\.(new|kept)\.pth$/.test(name))
        rmSync(join(this.folder, name), { force: true });
  }

  private rotate(keep: number): void {
    for (const name of readdirSync(this.folder)) {
      const number = Number(PREVIOUS.exec(name)?.[1] ?? 0);
      if (number >= keep) rmSync(join(this.folder, name), { force: true });
    }
    if (keep < 2 || !existsSync(this.newest)) return;
    for (let number = keep - 2; number >= 1; number--)
      if (existsSync(this.previous(number))) renameSync(this.previous(number), this.previous(number + 1));
    this.keepNewestAs(this.previous(1));
  }
}
