/** Does a run end with the same numbers however often it is killed? SIGKILL at random moments, then the same command. */

import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeSampleData } from '../src/data/scenes/index.js';
import { ending, finalState, start } from './storm.js';

const kills = Number(process.argv[2] ?? 200);

/** Waits until this start has written a checkpoint; false where the process ended before. */
async function hasSaved(child: ChildProcess, output: string, since: number): Promise<boolean> {
  const path = join(output, 'checkpoint.pth');
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) return false;
    if (existsSync(path) && statSync(path).mtimeMs >= since) return true;
    await sleep(5);
  }
}

const iterations = (output: string) => {
  const path = join(output, 'metrics.jsonl');
  if (!existsSync(path)) return '';
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  return lines
    .map((line) => JSON.parse(line) as Record<string, number>)
    .map(({ iteration, loss }) => `${iteration} ${loss}`)
    .join();
};

const folder = mkdtempSync(join(tmpdir(), 'esvit-kill-'));
try {
  const pictures = join(folder, 'pictures');
  await makeSampleData(pictures, { perClass: 8, valPerClass: 1, size: 40, seed: 1 });
  const whole = join(folder, 'whole');
  const before = Date.now();
  const undisturbed = start(pictures, whole);
  const ended = ending(undisturbed);
  await hasSaved(undisturbed, whole, before);
  const first = Date.now() - before;
  await ended;
  const rest = Date.now() - before - first;
  console.log(
    `undisturbed: first checkpoint after ${(first / 1000).toFixed(1)} s, ${(rest / 1000).toFixed(1)} s more`,
  );
  const [state, metrics] = [finalState(whole), iterations(whole)];

  const tally = { killed: 0, early: 0, saving: 0, runs: 0, different: 0, broken: 0 };
  while (tally.killed < kills) {
    const output = join(folder, `broken-${tally.runs++}`);
    for (;;) {
      const isLast = tally.killed >= kills;
      const child = start(pictures, output, '--num_workers', String(1 + Math.floor(Math.random() * 2)));
      const over = ending(child);
      if (!isLast) {
        // Mostly while it trains and saves, sometimes while it starts.
        const isEarly = Math.random() < 0.2;
        if (!isEarly) await hasSaved(child, output, Date.now());
        await sleep(Math.random() * (isEarly ? first : rest / 8));
        child.kill('SIGKILL');
      }
      const { code, signal, stderr } = await over;
      if (stderr.includes('put aside')) tally.broken++;
      if (signal !== 'SIGKILL') {
        // killed after its last word, before it could leave: there is nothing left to do
        const wasDone = stderr.includes('is finished');
        if (code !== 0 && !wasDone) throw new Error(`the training ended with code ${code}: ${stderr}`);
        break;
      }
      tally.killed++;
      const left = existsSync(output) ? readdirSync(output) : [];
      if (!left.includes('checkpoint.pth')) tally.early++;
      if (left.some((name) => name.startsWith('.checkpoint'))) tally.saving++;
    }
    const same = finalState(output) === state && iterations(output) === metrics;
    if (!same) tally.different++;
    console.log(
      `run ${tally.runs}: ${tally.killed} kills so far, ${same ? 'the same numbers' : 'OTHER NUMBERS'}`,
    );
    rmSync(output, { recursive: true, force: true });
  }
  console.log(
    `${tally.killed} kills in ${tally.runs} runs: ${tally.saving} in the middle of a save, ${tally.early} before the first checkpoint; ` +
      `${tally.broken} checkpoints that could not be read; ${tally.different} runs that ended with other numbers.`,
  );
  if (tally.different > 0) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
