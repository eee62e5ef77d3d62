/** What a command of `esvit` is: one schema for its flags, and one function; the frame does all the rest. */

import type { z } from 'zod';

/** The figures and words shown beside a progress bar, in order. */
export type ProgressExtras = Readonly<Record<string, string | number>>;

export interface Progress {
  /** `done` units are finished (absolute, not an increment). */
  update(done: number, extras?: ProgressExtras): void;
  /** Leaves the last state on the screen and frees the line. Safe to call twice. */
  stop(): void;
}

export interface ProgressOptions {
  /** What is being done, e.g. "epoch 3/10". */
  label: string;
  /** What `total` counts, in the plural, e.g. "images"; the rate is shown in it. */
  unit?: string;
  /** Units that were done before, by a run that is resumed; they do not count for the rate. */
  start?: number;
}

/** The way a command speaks. stdout carries results only; all else goes to stderr. */
export interface Io {
  /** A line of the human-readable result: stdout, or stderr under `--json`. Shown under `--quiet` too. */
  out(line: string): void;
  /** What is going on: stderr, hidden by `--quiet`. */
  log(line: string): void;
  /** What a person should know though the work goes on: stderr, never hidden. */
  warn(line: string): void;
  /** A bar on a terminal, else plain lines about every 10 seconds. `total` 0 means unknown. */
  progress(total: number, options: ProgressOptions): Progress;
  /** The work is done and the answer is no: the process will exit with 1, or another code. */
  fail(code?: number): void;
  readonly isTTY: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
  /**
   * Calls `handler` at the first SIGINT, SIGTERM or SIGUSR1 so that the command can end in good order (the process
   * then exits with 130, 143 or 138 once `run` returns); a second signal ends the process at once, unless SIGUSR1
   * was the first. Without a handler the first one ends it. Returns the function that takes the handler away.
   */
  onInterrupt(handler: (signal: NodeJS.Signals) => void): () => void;
}

/** How the command was called, beyond the values of its options. */
export interface Invocation {
  /** The options that the person wrote, as opposed to defaults. */
  readonly given: ReadonlySet<string>;
  /** Trailing `A.B value` pairs, flat, as typed (for `loadConfig`); only with `overrides: true`. */
  readonly overrides: readonly string[];
  /** The arguments after the command's name, as typed. */
  readonly argv: readonly string[];
}

export interface Command<Schema extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  /** One line, no full stop. */
  readonly summary: string;
  /** Whole command lines, each starting with `esvit`. */
  readonly examples: readonly string[];
  /**
   * `z.strictObject` of strings, numbers, booleans, enums and arrays of these, optional or with defaults, each
   * with a help text: `z.number().int().default(20).describe('Neighbours that vote')`. Keys are the flag
   * names in snake_case; a person may write `-` for `_`. `.meta({ description, group })` also sets a heading.
   */
  readonly options: Schema;
  /** Options that may be given by position, in this order; the last may be an array and takes the rest. */
  readonly positionals?: readonly (keyof z.output<Schema> & string)[];
  /** Other names of options, e.g. `{ workers: 'num_workers' }`. */
  readonly aliases?: Readonly<Record<string, keyof z.output<Schema> & string>>;
  /** Whether trailing `MODEL.SPEC.WINDOW_SIZE 14` pairs are accepted. */
  readonly overrides?: boolean;
  /** Whether `esvit launch` may start it in several processes, which then do it together. */
  readonly ranks?: boolean;
  /** Does the work. Throws `UserError` for what a person can cure; a returned object is the `--json` result. */
  // biome-ignore lint/suspicious/noConfusingVoidType: a command without a result has no return statement
  run(options: z.output<Schema>, io: Io, invocation: Invocation): Promise<object | void>;
}

/** Keeps the schema's type while declaring a command. */
export function defineCommand<Schema extends z.ZodObject>(command: Command<Schema>): Command<Schema> {
  return command;
}
