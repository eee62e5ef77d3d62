/** Runs of several processes as a person starts them: where they are, what they say, and what they leave behind. */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { makeSampleData } from '../../src/data/scenes/index.js';
import { entryOf, numberOf, readPth } from '../../src/weights/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** In the environment of every process that a test starts, and of all their descendants. */
const marker = `ESVIT_TEST_RUN=${randomUUID()}`;

/** How long a test waits for anything, in milliseconds: far longer than it takes on a busy machine. */
export const PATIENCE = 300_000;

export const folder = mkdtempSync(join(tmpdir(), 'esvit-runs-'));
export const pictures = join(folder, 'pictures');

/** Of each split, `unreadable` files are none. */
export async function drawPictures(unreadable = 0): Promise<void> {
  await makeSampleData(pictures, { perClass: 8, valPerClass: 2, size: 40, seed: 1 });
  for (const split of ['train', 'val'])
    for (const { parentPath, name } of readdirSync(join(pictures, split), {
      recursive: true,
      withFileTypes: true,
    })
      .filter((entry) => entry.isFile())
      .slice(0, unreadable))
      writeFileSync(join(parentPath, name), 'no picture');
}

export function cleanUp(): void {
  rmSync(folder, { recursive: true, force: true });
}

/** The living processes that come from this test. */
function descendants(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => {
      try {
        const isZombie = /^State:\s+Z/m.test(readFileSync(`/proc/${name}/status`, 'utf8'));
        return !isZombie && readFileSync(`/proc/${name}/environ`, 'utf8').split('\0').includes(marker);
      } catch {
        return false; // gone in the meantime, or not ours to look at
      }
    })
    .map(Number);
}

/** Ends what a failed test left behind. */
export function killAll(): void {
  for (const pid of descendants()) process.kill(pid, 'SIGKILL');
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + PATIENCE;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`);
    await sleep(50);
  }
}

export const allGone = () => until(() => descendants().length === 0, 'the end of all processes');

/** The command line of a tiny training; `run` names its folder. */
export const train = (run: string, ...more: string[]) => [
  ...['train', '--cfg', 'test/fixtures/micro.yaml', '--data_path', pictures],
  ...['--output_dir', join(folder, run), '--threads', '1', '--checkpoint_every_iterations', '20', ...more],
];

export interface Running {
  child: ChildProcess;
  output(): string;
  /** the exit code, once all is over */
  end: Promise<number | null>;
}

/** Starts `esvit` from the sources. `fault` is one of `faults.ts`, which happens in all its processes or in some. */
export function start(
  argv: readonly string[],
  { fault, env = {} }: { fault?: string; env?: Record<string, string> } = {},
): Running {
  const [name, value] = marker.split('=');
  const loaded = ['--import', 'tsx', ...(fault === undefined ? [] : ['--import', './test/e2e/faults.ts'])];
  const child = spawn(process.execPath, [...loaded, 'src/cli/main.ts', ...argv], {
    cwd: root,
    env: { ...process.env, ...env, [name]: value, ...(fault !== undefined && { ESVIT_TEST_FAULT: fault }) },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  const end = new Promise<number | null>((resolve) => child.on('close', resolve));
  return { child, output: () => output, end };
}

/** Waits until the training goes. */
export async function going(running: Running): Promise<void> {
  let isOver = false;
  void running.end.then(() => {
    isOver = true;
  });
  await until(() => isOver || running.output().includes('iterations/s'), 'the first steps');
  if (isOver) throw new Error(`the run ended early:\n${running.output()}`);
}

/** The process of rank 1, as it says in its log, once the training goes. */
export async function rank1(run: string, running: Running): Promise<number> {
  await going(running);
  const log = readFileSync(join(folder, run, 'logs/rank1.log'), 'utf8');
  return Number(/this is rank 1, process (\d+)/.exec(log)?.[1]);
}

/** The epoch of the newest checkpoint, which must be whole. */
export const epochOf = (run: string) =>
  numberOf(entryOf(readPth(join(folder, run, 'checkpoint.pth')), 'epoch') ?? null);

export const errors = (text: string) => text.split('\n').filter((line) => line.startsWith('error: '));
