/** The claim of one process on a run folder, so that two never write into it. */

import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { diskError } from '../files.js';

interface Owner {
  pid: number;
  host: string;
  /** when the process began, where the system tells: a number that is given again does not mean the same process */
  started?: string;
  token: string;
}

const NAME = 'run.lock';
/** How often the file is touched, and how old it may get before an owner on another machine counts as gone. */
const HEARTBEAT = 30_000;
const SILENCE = 10 * 60_000;
const ATTEMPTS = 5;

/**
 * `run.lock` names the owner. One that no longer lives is taken over: on this machine the process is looked up, on
 * others only the age of the file can tell.
 */
export class Claim {
  private readonly timer: NodeJS.Timeout;

  private constructor(
    private readonly folder: string,
    private readonly own: Owner,
  ) {
    this.timer = setInterval(() => this.touch(), HEARTBEAT);
    this.timer.unref();
  }

  /** Claims `folder` for this process, or throws a `UserError` that names the owner. */
  static take(folder: string): Claim {
    const path = join(folder, NAME);
    const started = startOf(process.pid);
    const own: Owner = {
      pid: process.pid,
      host: hostname(),
      ...(started !== undefined && { started }),
      token: randomUUID(),
    };
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (create(folder, path, own)) return new Claim(folder, own);
      const content = contentOf(path);
      if (content === undefined) continue; // gone in the meantime
      const owner = parse(content);
      if (owner !== undefined && isHeld(folder, path, owner)) throw inUse(folder, owner);
      discard(folder, path, content);
    }
    throw new UserError(
      'training',
      `the run folder ${folder} is claimed by several processes at once. Start one after the other.`,
    );
  }

  /** Throws where another process has taken the folder over in the meantime: it believed that this one is gone. */
  check(): void {
    const content = contentOf(join(this.folder, NAME));
    const owner = content === undefined ? undefined : parse(content);
    if (owner?.token === this.own.token) {
      this.touch();
      return;
    }
    throw new UserError(
      'training',
      owner === undefined
        ? `${join(this.folder, NAME)} was removed while this run was going, so another one may write there. Start the same command again.`
        : `the run folder ${this.folder} was taken over by process ${owner.pid} on ${owner.host}. This one ends, so that not both write there.`,
    );
  }

  release(): void {
    clearInterval(this.timer);
    const path = join(this.folder, NAME);
    const content = contentOf(path);
    if (content !== undefined && parse(content)?.token === this.own.token) rmSync(path, { force: true });
  }

  private touch(): void {
    try {
      const now = new Date();
      utimesSync(join(this.folder, NAME), now, now);
    } catch {
      // `check` finds out what has become of it
    }
  }
}

/** Puts the claim into place in one go, whole; false where one is there. */
function create(folder: string, path: string, own: Owner): boolean {
  const temporary = join(folder, `.${NAME}.${own.token}.tmp`);
  const content = `${JSON.stringify(own)}\n`;
  try {
    writeFileSync(temporary, content);
    try {
      linkSync(temporary, path);
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      writeFileSync(path, content, { flag: 'wx' }); // a file system without links
    }
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw diskError(path, error);
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Takes a claim away whose owner is gone, unless it has changed since it was judged. */
function discard(folder: string, path: string, judged: string): void {
  const aside = join(folder, `.${NAME}.${randomUUID()}.tmp`);
  try {
    renameSync(path, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return; // another process was quicker
    throw diskError(path, error);
  }
  try {
    if (contentOf(aside) !== judged) linkSync(aside, path); // a new owner came in between: put it back
  } catch {
    // a third one has claimed the folder meanwhile; the owner whose file this was notices at its next check
  } finally {
    rmSync(aside, { force: true });
  }
}

function isHeld(folder: string, path: string, owner: Owner): boolean {
  if (owner.host === hostname()) return isAlive(owner);
  try {
    // Both times are the file system's: clocks of machines differ.
    const probe = join(folder, `.${NAME}.${randomUUID()}.tmp`);
    writeFileSync(probe, '');
    const now = statSync(probe).mtimeMs;
    rmSync(probe, { force: true });
    return now - statSync(path).mtimeMs < SILENCE;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw diskError(path, error);
  }
}

function isAlive({ pid, started }: Owner): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) !== 'EPERM') return false;
  }
  const now = startOf(pid);
  return started === undefined || now === undefined || now === started;
}

/** Boot and ticks since then at which a process began; undefined where the system has no /proc. */
function startOf(pid: number): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // the name before it may hold anything
    return `${boot}/${fields[19]}`;
  } catch {
    return undefined;
  }
}

function inUse(folder: string, { pid, host }: Owner): UserError {
  const where = host === hostname() ? '' : ` on ${host}`;
  const cure =
    where === ''
      ? 'Wait for it, or choose another --output_dir.'
      : `Wait for it, or choose another --output_dir; if it is gone, remove ${join(folder, NAME)}.`;
  return new UserError('training', `the run folder ${folder} is in use by process ${pid}${where}. ${cure}`);
}

function contentOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw diskError(path, error);
  }
}

/** Undefined for what is no claim, as a crash of the machine may leave it. A number alone is one of older versions. */
function parse(content: string): Owner | undefined {
  try {
    const value: unknown = JSON.parse(content);
    if (typeof value === 'number') return { pid: value, host: hostname(), token: '' };
    const { pid, host, started, token } = value as Partial<Owner>;
    if (typeof pid !== 'number' || typeof host !== 'string' || typeof token !== 'string') return undefined;
    return { pid, host, token, ...(typeof started === 'string' && { started }) };
  } catch {
    return undefined;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}
