/** The folder of one training run: what was asked, what happened, where to go on. */

import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { diskError, writeFileAtomic } from '../files.js';

export type RunStatus = 'fresh' | 'interrupted' | 'finished';

/** One JSON object a line. */
export type LogEntry = Readonly<Record<string, number | string | boolean | null>>;

const CONFIG = 'config.json';
const LOG = 'log.txt';
const METRICS = 'metrics.jsonl';
const FINISHED = 'finished.json';
const LOCK = 'run.lock';
const BAD_IMAGES = 'bad-images.txt';

/**
 * `config.json` (resolved configuration), `log.txt` (a line an epoch, the original's keys), `metrics.jsonl` (a
 * line a logged iteration), `checkpoint.pth` (the newest state), `checkpoint0010.pth` (kept ones),
 * `finished.json` (its presence means: done).
 */
export class RunFolder {
  private readonly pendingMetrics: string[] = [];

  private constructor(readonly path: string) {}

  /** Makes the folder where it is missing and claims it for this process. */
  static open(path: string): RunFolder {
    try {
      mkdirSync(path, { recursive: true });
    } catch (error) {
      const known = diskError(path, error);
      if (known !== error) throw known;
      throw new UserError('disk', `cannot make the run folder ${path}: ${messageOf(error)}.`);
    }
    const folder = new RunFolder(path);
    folder.lock();
    return folder;
  }

  get status(): RunStatus {
    if (existsSync(join(this.path, FINISHED))) return 'finished';
    return existsSync(this.checkpointPath) ? 'interrupted' : 'fresh';
  }

  /** The newest state. */
  get checkpointPath(): string {
    return join(this.path, 'checkpoint.pth');
  }

  /** A state that stays: after `epoch` epochs. */
  keptCheckpointPath(epoch: number): string {
    return join(this.path, `checkpoint${String(epoch).padStart(4, '0')}.pth`);
  }

  get metricsPath(): string {
    return join(this.path, METRICS);
  }

  writeConfig(config: object): void {
    writeFileAtomic(join(this.path, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  }

  /** The configuration that an earlier start of this run wrote, or undefined. */
  readConfig(): Record<string, unknown> | undefined {
    const path = join(this.path, CONFIG);
    if (!existsSync(path)) return undefined;
    try {
      return JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    } catch (error) {
      throw new UserError(
        'config',
        `${path} is not valid JSON (${messageOf(error)}). Choose another --output_dir, or remove this run.`,
      );
    }
  }

  /** A line to log.txt, once an epoch. */
  log(entry: LogEntry): void {
    this.append(LOG, `${JSON.stringify(entry)}\n`);
  }

  /** A line to metrics.jsonl, written with the next `flush`. */
  metric(entry: LogEntry): void {
    this.pendingMetrics.push(`${JSON.stringify(entry)}\n`);
    if (this.pendingMetrics.length >= 50) this.flush();
  }

  flush(): void {
    if (this.pendingMetrics.length === 0) return;
    this.append(METRICS, this.pendingMetrics.join(''));
    this.pendingMetrics.length = 0;
  }

  /** Drops what was written after the state from which a run goes on, so that nothing stands there twice. */
  rewind(position: { epoch: number; iteration: number }): void {
    this.keepLines(LOG, (entry) => Number(entry.epoch) < position.epoch);
    this.keepLines(METRICS, (entry) => Number(entry.iteration) < position.iteration);
  }

  /** A line to bad-images.txt, once for each picture. */
  badImage(key: string, reason: string): void {
    this.append(BAD_IMAGES, `${key}\t${reason}\n`);
  }

  finish(summary: object): void {
    this.flush();
    writeFileAtomic(join(this.path, FINISHED), `${JSON.stringify(summary, null, 2)}\n`);
  }

  /** Opens a finished run again, to train it for longer. */
  reopen(): void {
    rmSync(join(this.path, FINISHED), { force: true });
  }

  close(): void {
    this.flush();
    rmSync(join(this.path, LOCK), { force: true });
  }

  private append(name: string, text: string): void {
    const path = join(this.path, name);
    try {
      appendFileSync(path, text);
    } catch (error) {
      throw diskError(path, error);
    }
  }

  private keepLines(name: string, wanted: (entry: Record<string, unknown>) => boolean): void {
    const path = join(this.path, name);
    if (!existsSync(path)) return;
    const kept = readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => {
        if (line === '') return false;
        try {
          return wanted(JSON.parse(line) as Record<string, unknown>);
        } catch {
          return false; // the last line of a killed process may be cut
        }
      });
    writeFileAtomic(path, kept.map((line) => `${line}\n`).join(''));
  }

  private lock(): void {
    const path = join(this.path, LOCK);
    const owner = existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0;
    if (owner > 0 && owner !== process.pid && isAlive(owner))
      throw new UserError(
        'training',
        `the run folder ${this.path} is in use by process ${owner}. Wait for it, or choose another --output_dir.`,
      );
    writeFileAtomic(path, String(process.pid));
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The entries of a metrics.jsonl or log.txt; a cut last line is left out. */
export function readEntries(path: string): LogEntry[] {
  if (!existsSync(path)) return [];
  const entries: LogEntry[] = [];
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (line === '') continue;
    try {
      entries.push(JSON.parse(line) as LogEntry);
    } catch {
      break;
    }
  }
  return entries;
}
