/**
 * Does every run of two processes recover when one of them is killed? `tsx bench/kill-ranks.ts [KILLS] [SEED]`: starts a
 * tiny training, kills a random rank at a random moment, lets the launcher start it anew, and looks at what came of it.
 */

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { RandomStream } from '../src/data/index.js';
import { makeSampleData } from '../src/data/scenes/index.js';
import { readPth } from '../src/weights/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const wanted = Number(process.argv[2] ?? 100);
const random = new RandomStream().key(Number(process.argv[3] ?? Date.now() % 1e9), 0, 0, 3);
const EPOCHS = 4;
const PATIENCE = 300_000;

const folder = mkdtempSync(join(tmpdir(), 'esvit-kill-ranks-'));
const pictures = join(folder, 'pictures');

/** Processes with this in their environment; the ranks among them say which they are. */
function descendants(run: string): { pid: number; rank: number | undefined }[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      if (/^State:\s+Z/m.test(readFileSync(`/proc/${name}/status`, 'utf8'))) return [];
      const env = readFileSync(`/proc/${name}/environ`, 'utf8').split('\0');
      if (!env.includes(`ESVIT_TEST_RUN=${run}`)) return [];
      const rank = env.find((entry) => entry.startsWith('RANK='));
      return [{ pid: Number(name), rank: rank === undefined ? undefined : Number(rank.slice(5)) }];
    } catch {
      return [];
    }
  });
}

interface Outcome {
  /** whether a living rank was hit */
  killed: boolean;
  seconds: number;
  problems: string[];
}

async function run(name: string, rank: number, after: number | undefined): Promise<Outcome> {
  const output = join(folder, name);
  const argv = [
    ...['launch', '--nproc_per_node', '2', '--max_restarts', '2', '--', 'train'],
    ...[
      '--cfg',
      'test/fixtures/micro.yaml',
      '--data_path',
      pictures,
      '--output_dir',
      output,
      '--threads',
      '1',
    ],
    ...['--epochs', String(EPOCHS), '--checkpoint_every_iterations', '2', '--quiet'],
  ];
  const begun = performance.now();
  const child = spawn(process.execPath, ['dist/cli/main.js', ...argv], {
    cwd: root,
    env: { ...process.env, ESVIT_TEST_RUN: name },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const end = new Promise<number | null>((resolve) => child.on('close', resolve));
  let killed = false;
  const timer = setTimeout(() => {
    const victim = descendants(name).find((one) => one.rank === rank);
    if (victim === undefined) return; // not there yet, or gone already
    try {
      process.kill(victim.pid, 'SIGKILL');
      killed = true;
    } catch {
      // gone in this moment
    }
  }, after ?? PATIENCE);
  const limit = setTimeout(() => child.kill('SIGKILL'), PATIENCE);
  const code = await end;
  clearTimeout(timer);
  clearTimeout(limit);
  const seconds = (performance.now() - begun) / 1000;
  const problems: string[] = [];
  if (code !== 0) problems.push(`exit code ${code}: ${said.trim().split('\n').slice(-3).join(' | ')}`);
  for (let i = 0; i < 100 && descendants(name).length > 0; i++) await sleep(100);
  const left = descendants(name);
  if (left.length > 0) problems.push(`${left.length} processes are left`);
  for (const { pid } of left) process.kill(pid, 'SIGKILL');
  if (!existsSync(join(output, 'finished.json'))) problems.push('the run is not finished');
  else {
    readPth(join(output, 'checkpoint.pth'));
    const epochs = readFileSync(join(output, 'log.txt'), 'utf8').trim().split('\n').length;
    if (epochs !== EPOCHS) problems.push(`log.txt has ${epochs} epochs`);
  }
  rmSync(output, { recursive: true, force: true });
  return { killed, seconds, problems };
}

try {
  await makeSampleData(pictures, { perClass: 8, valPerClass: 1, size: 40, seed: 1 });
  const whole = await run('whole', 0, undefined);
  if (whole.problems.length > 0) throw new Error(whole.problems.join('; '));
  console.log(`undisturbed: ${whole.seconds.toFixed(1)} s`);
  let kills = 0;
  let failed = 0;
  const hits = [0, 0];
  const times: number[] = [];
  for (let i = 0; kills < wanted; i++) {
    const rank = random.integer(2);
    const { killed, seconds, problems } = await run(
      `run-${i}`,
      rank,
      random.uniform(0, whole.seconds * 1000),
    );
    if (problems.length > 0) {
      failed++;
      console.log(`run ${i}, rank ${rank}${killed ? ' killed' : ''}: ${problems.join('; ')}`);
    }
    if (!killed) continue;
    kills++;
    hits[rank]++;
    times.push(seconds);
    if (kills % 5 === 0) console.log(`${kills} kills, ${failed} runs that did not recover`);
  }
  const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
  console.log(
    `${kills} kills (rank 0: ${hits[0]}, rank 1: ${hits[1]}), ${kills - failed} recovered, ${failed} not; ${mean.toFixed(1)} s a run`,
  );
  if (failed > 0) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
