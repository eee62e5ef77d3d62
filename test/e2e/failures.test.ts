/** What goes wrong in one of two processes, and what becomes of the run: seen from the outside. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hasCollectives, Store } from '../../src/dist/index.js';
import { contents } from './contents.js';
import {
  allGone,
  cleanUp,
  drawPictures,
  epochOf,
  errors,
  folder,
  killAll,
  PATIENCE,
  type Running,
  start,
  train,
  until,
} from './runs.js';
import { fillDisk, mayMount, mountDisk, unmountDisk } from './tmpfs.js';

const disk = join(folder, 'disk');

beforeAll(() => drawPictures(3));
afterEach(killAll);
afterAll(() => {
  unmountDisk(disk);
  cleanUp();
});

const launch = (...more: string[]) => ['launch', '--nproc_per_node', '2', ...more, '--'];

/** The run ended, each start of it with one message that names rank, host, step and a reason, and nobody is left. */
async function failed(running: Running, rank: number, ...reasons: string[]): Promise<void> {
  expect(await running.end, running.output()).toBe(1);
  const said = errors(running.output());
  expect(said, running.output()).toHaveLength(reasons.length);
  for (const [i, reason] of reasons.entries())
    expect(said[i]).toMatch(
      new RegExp(`^error: rank ${rank} on ${hostname()} failed at step \\d+: ${reason}`),
    );
  await allGone();
}

/** The checkpoint is whole, and from before the mishap: on a slow machine there are more of them than were asked for. */
function savedIn(run: string): boolean {
  const epoch = epochOf(run);
  return epoch !== undefined && epoch >= 1 && epoch <= 6;
}

describe.skipIf(!hasCollectives() || !existsSync('/proc/self/environ'))('a run of two processes', () => {
  it(
    'that was finished when one was killed is a success when it is started anew, and refused otherwise',
    async () => {
      const command = train('finished', '--epochs', '2');
      const running = start([...launch('--max_restarts', '2', '--grace_seconds', '200'), ...command], {
        fault: 'killed when starting, then when leaving',
      });
      expect(await running.end, running.output()).toBe(0);
      // rank 0 does not wait for one that will not come
      expect(errors(running.output())).toEqual([
        `error: rank 1 on ${hostname()} failed before the first step: its process was ended by SIGKILL.`,
      ]);
      expect(running.output()).toMatch(
        /failed .*: its process was ended by SIGKILL\. Starting anew .*\(2 of 2\)/,
      );
      expect(running.output()).toMatch(/Finished after 10 iterations/);
      const nothingToDo =
        /^The run in \S+ was finished before it was started anew; nothing is left to do\.$/m;
      expect(running.output()).toMatch(nothingToDo);
      expect(readFileSync(join(folder, 'finished/log.txt'), 'utf8').trim().split('\n')).toHaveLength(2);
      await allGone();

      // The same under another launcher, which says so in the environment.
      const store = await Store.serve('127.0.0.1', 0, PATIENCE);
      const both = (restarts: number) =>
        [0, 1].map((rank) =>
          start(command, {
            env: {
              ...{ RANK: String(rank), WORLD_SIZE: '2', LOCAL_RANK: String(rank), LOCAL_WORLD_SIZE: '2' },
              ...{ MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(store.port) },
              ...{
                TORCHELASTIC_USE_AGENT_STORE: 'True',
                TORCHELASTIC_RESTART_COUNT: String(restarts),
              },
            },
          }),
        );
      const again = both(3);
      expect(await Promise.all(again.map(({ end }) => end)), again[0].output()).toEqual([0, 0]);
      expect(again[0].output()).toMatch(nothingToDo);
      const anew = both(0);
      expect(await Promise.all(anew.map(({ end }) => end)), anew[0].output()).toEqual([1, 1]);
      expect(errors(anew[0].output())[0]).toMatch(/the run in \S+ is finished/);
    },
    PATIENCE,
  );

  it(
    'ends when the loader of one dies, or cannot read any more',
    async () => {
      const running = start(
        [...launch('--max_restarts', '1'), ...train('loader', '--epochs', '10', '--num_workers', '2')],
        { fault: 'loader dies, then its pictures' },
      );
      await failed(
        running,
        1,
        'data worker \\d of 2 died: it ended with code 1',
        '\\d+ pictures in a row cannot be read, the first is \\S+ \\(ENOENT: .*',
      );
      expect(running.output()).toContain('Going on with the run');
      expect(savedIn('loader')).toBe(true);
    },
    PATIENCE,
  );

  it(
    'ends when the weights of one come apart from the others',
    async () => {
      const command = train('drift', '--epochs', '10');
      await failed(
        start([...launch(), ...command], { fault: 'weights drift' }),
        1,
        'its weights have come apart from those of rank 0, first in student \\S+, by \\S+ of its length',
      );
      expect(savedIn('drift')).toBe(true);
    },
    PATIENCE,
  );

  it.skipIf(!mayMount())(
    'ends when the disk of rank 0 is full (needs the right to mount a tmpfs)',
    async () => {
      expect(mountDisk(disk, 16 << 20)).toBe(true);
      const command = train('disk/full', '--epochs', '10');
      const ballast = join(disk, 'ballast');
      const gate = join(folder, 'disk-is-full');
      const running = start([...launch(), ...command], { fault: 'waits', env: { ESVIT_TEST_GATE: gate } });
      const isSaved = () => existsSync(join(disk, 'full/checkpoint.pth'));
      await until(() => running.child.exitCode !== null || isSaved(), 'the first checkpoint');
      fillDisk(ballast);
      writeFileSync(gate, '');
      await failed(running, 0, `cannot write ${join(disk, 'full')}/\\S+: the disk is full`);
      expect(running.output()).toMatch(/No checkpoint: cannot write \S+: the disk is full/);
      expect(savedIn('disk/full')).toBe(true);
    },
    PATIENCE,
  );

  it(
    'on two machines is started anew on both, and ends with the weights of an undisturbed one',
    async () => {
      const more = ['--epochs', '8', '--knn_every', '8'];
      const whole = start([...launch(), ...train('whole', ...more)]);
      expect(await whole.end, whole.output()).toBe(0);

      const { nodes, kill } = await twoMachines('both', more);
      await until(
        () =>
          nodes.some(({ child }) => child.exitCode !== null) ||
          existsSync(join(folder, 'both/checkpoint.pth')),
        'the first checkpoint',
      );
      kill();
      const codes = await Promise.all(nodes.map(({ end }) => end));
      const said = nodes.map((node) => node.output()).join('\n');
      expect(codes, said).toEqual([0, 0]);
      for (const node of nodes)
        expect(node.output()).toMatch(
          /Rank 1 on \S+ failed .*: its process was ended by SIGKILL\. Starting anew .*\(1 of 1\)/,
        );
      expect(nodes[0].output()).toContain('Going on with the run');
      await allGone();

      const [expected, found] = ['whole', 'both'].map((run) => contents(join(folder, run, 'checkpoint.pth')));
      expect(found).toEqual(expected);
      const logs = ['whole', 'both'].map((run) => readFileSync(join(folder, run, 'log.txt'), 'utf8'));
      expect(logs[1]).toBe(logs[0]);
      expect(logs[0].trim().split('\n')).toHaveLength(8);
      expect(logs[0]).toContain('knn10_top1');
    },
    PATIENCE,
  );
});

/** One launcher for each of two machines, which are one; rank 1 stands still in the middle until it is killed. */
async function twoMachines(run: string, more: readonly string[]) {
  for (;;) {
    const port = await freePort();
    const nodes = [0, 1].map((node) =>
      start(
        [
          ...['launch', '--nnodes', '2', '--node_rank', String(node), '--master_addr', '127.0.0.1'],
          ...['--master_port', String(port), '--nproc_per_node', '1', '--max_restarts', '1', '--'],
          ...train(run, ...more),
        ],
        { fault: 'waits', env: { ESVIT_TEST_GATE: join(folder, 'nowhere') } },
      ),
    );
    const log = join(folder, run, 'logs/rank1.log');
    await until(
      () => nodes.some(({ child }) => child.exitCode !== null) || existsSync(log),
      'the start of the ranks',
    );
    // Somebody else may take the port before the launcher does.
    if (nodes[0].output().includes('cannot be taken')) {
      killAll();
      await allGone();
      continue;
    }
    const kill = () =>
      process.kill(Number(/this is rank 1, process (\d+)/.exec(readFileSync(log, 'utf8'))?.[1]), 'SIGKILL');
    return { nodes, kill };
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
