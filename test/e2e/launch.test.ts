/** Runs of two processes from the outside: ranks die, hang and diverge, signals come, other numbers of ranks go on. */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { makeSampleData } from '../../src/data/scenes/index.js';
import { hasCollectives } from '../../src/dist/index.js';
import { entryOf, numberOf, readPth } from '../../src/weights/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'esvit-launch-'));
const pictures = join(folder, 'pictures');
/** In the environment of every process that a test starts, and of all their descendants. */
const marker = `ESVIT_TEST_RUN=${randomUUID()}`;
const PATIENCE = 300_000;

beforeAll(async () => {
  await makeSampleData(pictures, { perClass: 8, valPerClass: 2, size: 40, seed: 1 });
});
afterEach(() => {
  for (const pid of descendants()) process.kill(pid, 'SIGKILL');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

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

async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + PATIENCE;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`);
    await sleep(50);
  }
}

const train = (run: string, ...more: string[]) => [
  ...[
    'train',
    '--cfg',
    'test/fixtures/micro.yaml',
    '--data_path',
    pictures,
    '--output_dir',
    join(folder, run),
  ],
  ...['--threads', '1', '--checkpoint_every_iterations', '20', ...more],
];

interface Running {
  child: ChildProcess;
  output(): string;
  /** the exit code, once all is over */
  end: Promise<number | null>;
}

function start(argv: readonly string[]): Running {
  const [name, value] = marker.split('=');
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...argv], {
    cwd: root,
    env: { ...process.env, [name]: value },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  const end = new Promise<number | null>((resolve) => child.on('close', resolve));
  return { child, output: () => output, end };
}

/** The process of rank 1, as it says in its log, once the training goes. */
async function rank1(run: string, running: Running): Promise<number> {
  let isOver = false;
  void running.end.then(() => {
    isOver = true;
  });
  await until(() => isOver || running.output().includes('iterations/s'), 'the first steps');
  if (isOver) throw new Error(`the run ended early:\n${running.output()}`);
  const log = readFileSync(join(folder, run, 'logs/rank1.log'), 'utf8');
  return Number(/this is rank 1, process (\d+)/.exec(log)?.[1]);
}

const epochOf = (run: string) =>
  numberOf(entryOf(readPth(join(folder, run, 'checkpoint.pth')), 'epoch') ?? null);

const errors = (text: string) => text.split('\n').filter((line) => line.startsWith('error: '));

describe.skipIf(!hasCollectives() || !existsSync('/proc/self/environ'))('two processes', () => {
  it(
    'start anew when one is killed, and finish; only rank 0 is heard',
    async () => {
      const argv = ['launch', '--nproc_per_node', '2', '--max_restarts', '1', '--', ...train('killed')];
      const running = start([...argv, '--epochs', '40', '--knn_every', '40']);
      process.kill(await rank1('killed', running), 'SIGKILL');
      expect(await running.end, running.output()).toBe(0);
      const output = running.output();
      expect(output).toMatch(
        new RegExp(`[Rr]ank 1 on ${hostname()} failed at step \\d+: its process was ended by SIGKILL`),
      );
      expect(output).toContain('Starting anew from the last checkpoint (1 of 1)');
      expect(output).toContain('Finished after 200 iterations');
      expect(output).not.toContain('this is rank 1');
      const log = readFileSync(join(folder, 'killed/log.txt'), 'utf8').trim().split('\n');
      expect(log.map((line) => (JSON.parse(line) as { epoch: number }).epoch)).toEqual(
        Array.from({ length: 40 }, (_, epoch) => epoch),
      );
      expect(JSON.parse(log[39])).toHaveProperty('knn10_top1');
      const metrics = readFileSync(join(folder, 'killed/metrics.jsonl'), 'utf8').trim().split('\n');
      expect(JSON.parse(metrics[metrics.length - 1])).toMatchObject({
        iteration: 199,
        images_per_second_rank1: expect.any(Number),
        exchange_mb: expect.any(Number),
      });
      await until(() => descendants().length === 0, 'the end of all processes');
    },
    PATIENCE + 60_000,
  );

  it(
    'end when one hangs, then when they are asked to; one process goes on with it',
    async () => {
      const argv = ['launch', '--nproc_per_node', '2', '--grace_seconds', '20', '--', ...train('stopped')];
      const more = ['--epochs', '30'];
      const hung = start([...argv, ...more, '--dist_timeout', '60']);
      process.kill(await rank1('stopped', hung), 'SIGSTOP');
      expect(await hung.end, hung.output()).toBe(1);
      expect(errors(hung.output())).toHaveLength(1);
      expect(errors(hung.output())[0]).toMatch(
        new RegExp(`error: rank 1 on ${hostname()} failed at step \\d+: it answers no more`),
      );
      await until(() => descendants().length === 0, 'the end of all processes');

      const asked = start([...argv, ...more]);
      await rank1('stopped', asked);
      asked.child.kill('SIGTERM');
      expect(await asked.end, asked.output()).toBe(143);
      expect(asked.output()).toMatch(/Ended after \d+ iterations, since .*; the same command goes on/);
      expect(errors(asked.output())).toEqual([]);
      await until(() => descendants().length === 0, 'the end of all processes');

      const alone = start([...train('stopped', '--batch_size_per_gpu', '16'), '--epochs', '30']);
      expect(await alone.end, alone.output()).toBe(0);
      expect(alone.output()).toContain('world_size 2 -> 1');
      expect(alone.output()).toContain('Finished after 150 iterations');
      expect(epochOf('stopped')).toBe(30);
    },
    PATIENCE + 60_000,
  );

  it(
    'end when the loss is no number, and say whose it is',
    async () => {
      const running = start([
        ...['launch', '--nproc_per_node', '2', '--', ...train('diverged')],
        ...['--lr', '1e30', '--warmup_epochs', '0', '--clip_grad', '0'],
      ]);
      expect(await running.end, running.output()).toBe(1);
      expect(errors(running.output())).toHaveLength(1);
      expect(errors(running.output())[0]).toMatch(
        /error: rank \d on \S+ failed at step \d+: the loss is (NaN|null|-?Infinity) at iteration \d+/,
      );
      expect(epochOf('diverged')).toBe(0);
      await until(() => descendants().length === 0, 'the end of all processes');
    },
    PATIENCE,
  );

  it(
    'say what is missing when nothing or half is said',
    async () => {
      const half = start(['launch', '--nnodes', '2', '--node_rank', '0', '--', 'train']);
      expect(await half.end).toBe(2);
      expect(half.output()).toMatch(/--master_addr is missing/);
      const nothing = start(['launch', '--nproc_per_node', '2']);
      expect(await nothing.end).toBe(2);
      expect(nothing.output()).toMatch(/Give the command after --/);
    },
    PATIENCE,
  );
});
