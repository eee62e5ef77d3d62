/** The folder of one training run: what was asked, what happened, where to go on. */

import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { appendDurably, diskError, writeFileAtomic } from '../files.js';
import { CheckpointFiles } from './checkpoint-files.js';
import { Claim } from './claim.js';

export type RunStatus = 'fresh' | 'interrupted' | 'finished';

/** One JSON object a line. */
export type LogEntry = Readonly<Record<string, number | string | boolean | null>>;

const CONFIG = 'config.json';
const LOG = 'log.txt';
const METRICS = 'metrics.jsonl';
const FINISHED = 'finished.json';
/** Lines that may wait in memory, and for how long, in milliseconds. */
const LINES_AT_ONCE = 50;
const PATIENCE = 30_000;
const BAD_IMAGES = 'bad-images.txt';

/**
 * `config.json` (resolved configuration), `log.txt` (a line an epoch, the original's keys), `metrics.jsonl` (a
 * line a logged iteration), checkpoints, `finished.json` (its presence means: done), `run.lock` (who writes here).
 */
export class RunFolder {
  readonly checkpoints: CheckpointFiles;
  /** lines that are not in their files yet */
  private readonly pending = new Map<string, string[]>();
  private flushedAt = performance.now();
  /** those that bad-images.txt names, once it was read */
  private badImages: Set<string> | undefined;

  private constructor(
    readonly path: string,
    private readonly claim: Claim,
  ) {
    this.checkpoints = new CheckpointFiles(path);
  }

  /** Makes the folder where it is missing, claims it for this process, and clears what a killed one left. */
  static open(path: string): RunFolder {
    try {
      mkdirSync(path, { recursive: true });
    } catch (error) {
      const known = diskError(path, error);
      if (known !== error) throw known;
      throw new UserError('disk', `cannot make the run folder ${path}: ${messageOf(error)}.`);
    }
    const folder = new RunFolder(path, Claim.take(path));
    folder.checkpoints.clean();
    return folder;
  }

  get status(): RunStatus {
    if (existsSync(join(this.path, FINISHED))) return 'finished';
    return this.checkpoints.candidates().length > 0 ? 'interrupted' : 'fresh';
  }

  /** The newest state. */
  get checkpointPath(): string {
    return this.checkpoints.newest;
  }

  get metricsPath(): string {
    return join(this.path, METRICS);
  }

  writeConfig(config: object): void {
    writeFileAtomic(join(this.path, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  }

  /** The configuration that an earlier start of this run wrote, or undefined. */
  readConfig(): Record<string, unknown> | undefined {
    return this.readObject(CONFIG);
  }

  /** What a finished run said of itself at its end, or undefined. */
  readSummary(): Record<string, unknown> | undefined {
    return this.readObject(FINISHED);
  }

  private readObject(name: string): Record<string, unknown> | undefined {
    const path = join(this.path, name);
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

  /** Throws where another process has taken the folder over. */
  checkClaim(): void {
    this.claim.check();
  }

  /** A line to log.txt, once an epoch. */
  log(entry: LogEntry): void {
    this.append(LOG, `${JSON.stringify(entry)}\n`);
    this.tryFlush();
  }

  /** A line to metrics.jsonl, written with the next `flush`. */
  metric(entry: LogEntry): void {
    this.append(METRICS, `${JSON.stringify(entry)}\n`);
  }

  /** Entries of log.txt, those included that are not written yet. */
  logEntries(): LogEntry[] {
    const waiting = (this.pending.get(LOG) ?? []).map((line) => JSON.parse(line) as LogEntry);
    return [...readEntries(join(this.path, LOG)), ...waiting];
  }

  /** Has all lines on the disk; those that do not fit there wait for the next call. */
  flush(): void {
    this.flushedAt = performance.now();
    for (const [name, lines] of this.pending) {
      if (lines.length > 0) appendDurably(join(this.path, name), lines.join(''));
      this.pending.delete(name);
    }
  }

  /** Drops what was written after the state from which a run goes on, so that nothing stands there twice. */
  rewind(position: { epoch: number; iteration: number }): void {
    this.pending.clear();
    this.keepLines(LOG, (entry) => Number(entry.epoch) < position.epoch);
    this.keepLines(METRICS, (entry) => Number(entry.iteration) < position.iteration);
  }

  /** A line to bad-images.txt, once for each picture, also where an earlier start of the run has named it. */
  badImage(key: string, reason: string): void {
    const name = key.replace(/[\t\r\n]/g, ' ');
    this.badImages ??= new Set(
      linesOf(join(this.path, BAD_IMAGES)).map((line) => line.slice(0, Math.max(0, line.indexOf('\t')))),
    );
    if (this.badImages.has(name)) return;
    this.badImages.add(name);
    this.append(BAD_IMAGES, `${name}\t${reason}\n`);
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
    try {
      this.flush();
    } finally {
      this.claim.release();
    }
  }

  private append(name: string, line: string): void {
    const lines = this.pending.get(name) ?? [];
    lines.push(line);
    this.pending.set(name, lines);
    if (lines.length % LINES_AT_ONCE === 0 || performance.now() - this.flushedAt > PATIENCE) this.tryFlush();
  }

  /** Lines that cannot be written wait; the next checkpoint meets the same trouble and reports it. */
  private tryFlush(): void {
    try {
      this.flush();
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
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
}

function linesOf(path: string): string[] {
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : [];
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
