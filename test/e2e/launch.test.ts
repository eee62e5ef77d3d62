/** Runs of two processes from the outside: ranks die, hang and diverge, signals come, other numbers of ranks go on. */

import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hasCollectives } from '../../src/dist/index.js';
import {
  allGone,
  cleanUp,
  drawPictures,
  epochOf,
  errors,
  folder,
  killAll,
  PATIENCE,
  rank1,
  start,
  train,
} from './runs.js';

beforeAll(() => drawPictures());
afterEach(killAll);
afterAll(cleanUp);

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
      await allGone();
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
      await allGone();

      const asked = start([...argv, ...more]);
      await rank1('stopped', asked);
      asked.child.kill('SIGTERM');
      expect(await asked.end, asked.output()).toBe(143);
      expect(asked.output()).toMatch(/Ended after \d+ iterations, since .*; the same command goes on/);
      expect(errors(asked.output())).toEqual([]);
      await allGone();

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
      await allGone();
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
