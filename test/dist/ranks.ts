/** Runs a task of `rank.ts` in several processes that form a run, and collects what each of them says. */

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Store } from '../../src/dist/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const children = new Set<ChildProcess>();

/** Ends what a failed test left behind. */
export function reap(): void {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
}

let store: Promise<Store> | undefined;
let runs = 0;

/** The results of all ranks, by rank. A rank that fails rejects with what it wrote to stderr. */
export async function onRanks<T>(worldSize: number, task: string, argument: unknown = null): Promise<T[]> {
  // One store serves all runs of a test file, at a port that the system chose.
  store ??= Store.serve('127.0.0.1', 0, 60_000);
  const { port } = await store;
  const run = runs++;
  return Promise.all(
    Array.from({ length: worldSize }, (_, rank) =>
      start<T>([task, JSON.stringify(argument)], {
        RANK: String(rank),
        WORLD_SIZE: String(worldSize),
        LOCAL_RANK: String(rank),
        LOCAL_WORLD_SIZE: String(worldSize),
        MASTER_ADDR: '127.0.0.1',
        MASTER_PORT: String(port),
        TORCHELASTIC_RESTART_COUNT: String(run),
        ESVIT_LAUNCHER: String(process.pid),
        OMP_NUM_THREADS: '1',
      }),
    ),
  );
}

/** The result of the same task in a run of one. */
export function onOne<T>(task: string, argument: unknown = null): Promise<T> {
  return start<T>([task, JSON.stringify(argument)], { OMP_NUM_THREADS: '1' });
}

function start<T>(argv: readonly string[], env: Record<string, string>): Promise<T> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'test/dist/rank.ts', ...argv], {
      cwd: root,
      env: { ...process.env, ...env },
    });
    children.add(child);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      children.delete(child);
      if (code === 0) resolve(JSON.parse(stdout) as T);
      else reject(new Error(`${env.RANK ?? 'one'}: code ${code}, signal ${signal}\n${stderr}`));
    });
  });
}
