/** The `Io` of a process: results on stdout, the rest on stderr, progress that makes room for lines, signals. */

import { constants } from 'node:os';
import type { Io, Progress, ProgressOptions } from './command.js';
import { type ProgressStream, startProgress } from './progress.js';

/** The parts of a process that a command line needs; tests give their own. */
export interface Host {
  readonly stdout: NodeJS.WritableStream & { readonly columns?: number };
  readonly stderr: ProgressStream;
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  exit(code: number): void;
}

/** SIGUSR1 is how SLURM says beforehand that the time of a job runs out. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGUSR1'] as const;

export class Console implements Io {
  private readonly handlers = new Set<(signal: NodeJS.Signals) => void>();
  private readonly shown = new Set<Progress & { clear(): void }>();
  private interruption: NodeJS.Signals | undefined;
  private failure = 0;
  private readonly listener = (signal: NodeJS.Signals) => this.interrupt(signal);

  constructor(
    private readonly host: Host,
    readonly json: boolean,
    readonly quiet: boolean,
  ) {
    for (const signal of SIGNALS) host.on(signal, this.listener);
  }

  get isTTY(): boolean {
    return this.host.stderr.isTTY === true;
  }

  out(line: string): void {
    if (this.json) this.toStderr(line);
    else {
      this.clear();
      this.host.stdout.write(`${line}\n`);
    }
  }

  log(line: string): void {
    if (!this.quiet) this.toStderr(line);
  }

  warn(line: string): void {
    this.toStderr(`warning: ${line}`);
  }

  progress(total: number, options: ProgressOptions): Progress {
    if (this.quiet) return { update: () => {}, stop: () => {} };
    const progress = startProgress(total, options, this.host.stderr);
    this.shown.add(progress);
    return {
      update: (done, extras) => progress.update(done, extras),
      stop: () => {
        progress.stop();
        this.shown.delete(progress);
      },
    };
  }

  onInterrupt(handler: (signal: NodeJS.Signals) => void): () => void {
    this.handlers.add(handler);
    return () => this.handlers.delete(handler);
  }

  fail(code = 1): void {
    this.failure = code;
  }

  /** 0, or 1 for a "no", or 130 / 143 / 138 once a signal has asked for the end. */
  get exitCode(): number {
    if (this.interruption !== undefined) return 128 + constants.signals[this.interruption];
    return this.failure;
  }

  /** Ends all progress and listens to signals no more. */
  close(): void {
    for (const progress of this.shown) progress.stop();
    this.shown.clear();
    for (const signal of SIGNALS) this.host.off(signal, this.listener);
  }

  private interrupt(signal: NodeJS.Signals): void {
    const earlier = this.interruption;
    this.interruption ??= signal;
    // A warning may come several times, and SIGTERM comes after it while the state is still being saved.
    if (earlier !== undefined && (signal === 'SIGUSR1' || earlier === 'SIGUSR1')) {
      this.interruption = signal === 'SIGUSR1' ? earlier : signal;
      return;
    }
    if (earlier !== undefined || this.handlers.size === 0) {
      this.close();
      this.host.exit(this.exitCode);
      return;
    }
    this.warn(`${signal}: ending in good order; a second one ends at once.`);
    for (const handler of this.handlers) handler(signal);
  }

  private toStderr(line: string): void {
    this.clear();
    this.host.stderr.write(`${line}\n`);
  }

  private clear(): void {
    for (const progress of this.shown) progress.clear();
  }
}
