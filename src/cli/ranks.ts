/** A command as one of several processes of a run: it joins the others, only rank 0 talks, and failures are shared. */

import { mkdirSync, openSync, writeSync } from 'node:fs';
import { constants, cpus } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import type { Placement, World } from '../dist/index.js';
import { UserError } from '../errors.js';
import type { Company } from '../train/index.js';
import type { Io } from './command.js';

/** Flags of the commands, other than training, that several processes can do together. */
export const rankOptions = {
  dist_timeout: z
    .number()
    .positive()
    .default(600)
    .describe('Seconds that a process waits for the others before the run counts as failed'),
  dist_url: z
    .enum(['env://'])
    .default('env://')
    .describe('How processes find each other; only env://, the environment'),
  local_rank: z
    .number()
    .int()
    .default(0)
    .describe('Accepted for older launchers; LOCAL_RANK of the environment is what counts'),
} as const;

/** The exit code of a rank whose run ended in good order because another rank was asked to. */
export const ASKED_ELSEWHERE = 128 + constants.signals.SIGTERM;

/** Threads that compute: those that were asked for, else the cores, shared by the processes of this machine. */
function threadsOf(asked: number | undefined, world: World | undefined): number {
  return asked ?? Math.max(1, Math.floor(cpus().length / (world?.placement.localWorldSize ?? 1)));
}

export interface RankOptions {
  timeoutSeconds: number;
  device: 'auto' | 'cpu' | 'cuda';
  /** where ranks other than 0 write what they say, unless a launcher has seen to it */
  logDir: string;
}

/** Runs `body` alone, or as the rank that the environment says this process is. */
export async function amongRanks<T>(
  io: Io,
  options: RankOptions,
  body: (io: Io, world: World | undefined) => Promise<T>,
): Promise<T> {
  const { hasCollectives, readPlacement, World } = await import('../dist/index.js');
  const placement = readPlacement(process.env);
  if (placement === undefined) return body(io, undefined);
  const { torchInfo } = await import('../torch/index.js');
  const device = options.device !== 'cpu' && torchInfo().cudaDevices > 0 ? 'cuda' : 'cpu';
  if (!hasCollectives(device))
    throw new UserError(
      'environment',
      `the environment (${placement.source}) asks for ${placement.worldSize} processes, but this libtorch has no collectives for ${device === 'cuda' ? 'GPUs' : 'CPUs'}; see esvit doctor.`,
    );
  const own = placement.rank === 0 ? io : quietIo(io, placement, options.logDir);
  const world = await World.join(placement, { timeoutSeconds: options.timeoutSeconds, device });
  const { worldSize, hosts, backend } = world;
  own.log(
    `${worldSize} processes on ${new Set(hosts).size === 1 ? hosts[0] : `${new Set(hosts).size} machines`} (${placement.source}, ${backend}); this is rank ${placement.rank}, process ${process.pid}.`,
  );
  try {
    const result = await body(own, world);
    await world.leave();
    return result;
  } catch (error) {
    if (process.env.ESVIT_DEBUG && error instanceof Error) own.log(error.stack ?? error.message);
    throw await world.fail(error);
  }
}

/**
 * The same for commands with `rankOptions`: with their threads set, and all ranks asked whether they were given the same
 * settings.
 */
export function evaluateAmongRanks<T>(
  io: Io,
  options: { dist_timeout: number; device: RankOptions['device']; threads?: number | undefined },
  overrides: readonly string[],
  body: (io: Io, company: Company) => Promise<T>,
  logDir = 'runs/logs',
): Promise<T> {
  const { dist_timeout: timeoutSeconds, device } = options;
  return amongRanks(io, { timeoutSeconds, device, logDir }, async (own, world) => {
    const { setThreads } = await import('../torch/index.js');
    const { Company } = await import('../train/index.js');
    setThreads(threadsOf(options.threads, world));
    const company = new Company(world);
    company.checkConfig({ ...options, overrides });
    return body(own, company);
  });
}

/** What this rank says goes to stderr without a bar, and that into a file. */
function quietIo(io: Io, placement: Placement, logDir: string): Io {
  if (placement.launcher === undefined) writeTo(logDir, placement.rank);
  return {
    isTTY: false,
    json: io.json,
    quiet: io.quiet,
    out: (line) => io.log(line),
    log: (line) => io.log(line),
    warn: (line) => io.warn(line),
    progress: () => ({ update: () => {}, stop: () => {} }),
    fail: (code) => io.fail(code),
    onInterrupt: (handler) => io.onInterrupt(handler),
  };
}

/** From here on stdout and stderr of this process are lines of a file. */
function writeTo(folder: string, rank: number): void {
  let file: number;
  try {
    mkdirSync(folder, { recursive: true });
    file = openSync(join(folder, `rank${rank}.log`), 'a');
  } catch (error) {
    throw new UserError(
      'disk',
      `rank ${rank} cannot write its log to ${folder} (${(error as Error).message}); choose another --output_dir.`,
      { cause: error },
    );
  }
  for (const stream of [process.stdout, process.stderr])
    stream.write = (
      chunk: Uint8Array | string,
      encoding?: BufferEncoding | ((error?: Error | null) => void),
      done?: (error?: Error | null) => void,
    ): boolean => {
      if (typeof chunk === 'string') writeSync(file, chunk);
      else writeSync(file, chunk);
      const called = typeof encoding === 'function' ? encoding : done;
      if (called !== undefined) process.nextTick(called);
      return true;
    };
}
