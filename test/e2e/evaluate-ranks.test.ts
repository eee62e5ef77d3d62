/** Evaluations of two processes from the outside: launched, by another launcher, with a dead rank; what is not for ranks. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { embed } from '../../src/cli/embed.js';
import { evalKnn } from '../../src/cli/eval-knn.js';
import { evalLinear } from '../../src/cli/eval-linear.js';
import { hasCollectives, Store } from '../../src/dist/index.js';
import { run } from '../cli/harness.js';
import { temporaryFolder } from '../data/pictures.js';
import { writeLabelled } from '../eval/labelled-pictures.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const micro = join(root, 'test/fixtures/micro.yaml');
const PATIENCE = 240_000;

let data: string;
let folder: string;
let network: string[];
beforeAll(async () => {
  data = await writeLabelled(6);
  folder = temporaryFolder();
  // Weights of a file: networks without are drawn anew by each start.
  const weights = join(folder, 'micro.safetensors');
  const { buildBackbone } = await import('../../src/models/index.js');
  const { loadExperiment } = await import('../../src/train/index.js');
  const { writeSafetensors } = await import('../../src/weights/index.js');
  const { NAME: arch = '', SPEC: spec = {} } = loadExperiment(micro, []).value.MODEL ?? {};
  const backbone = buildBackbone({
    arch,
    spec: structuredClone(spec) as Record<string, unknown>,
    imgSize: 32,
  });
  writeSafetensors(weights, backbone.stateDict());
  network = [
    ...['--cfg', micro, '--pretrained_weights', weights, '--image_size', '32', '--workers', '0'],
    ...['--device', 'cpu', '--threads', '1', '--batch_size', '2'],
  ];
});

const children = new Set<ChildProcess>();
afterEach(() => {
  for (const child of children) child.kill('SIGKILL'); // ranks end with their launcher
  children.clear();
});

interface Running {
  child: ChildProcess;
  stderr(): string;
  end: Promise<{ code: number | null; stdout: string; stderr: string }>;
}

function start(argv: readonly string[], env: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...argv], {
    cwd: root,
    env: { ...process.env, ...env },
  });
  children.add(child);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const end = new Promise<Awaited<Running['end']>>((resolve) => {
    child.on('close', (code) => {
      children.delete(child);
      resolve({ code, stdout, stderr });
    });
  });
  return { child, stderr: () => stderr, end };
}

const launched = (logs: string, argv: readonly string[]) =>
  start(['launch', '--nproc_per_node', '2', '--log_dir', join(folder, logs), '--', ...argv]);

const filesOf = (path: string) =>
  Object.fromEntries(
    readdirSync(path).map((name) => [name, readFileSync(join(path, name)).toString('base64')]),
  );

describe.skipIf(!hasCollectives())('two processes', () => {
  it(
    'print and write what one does: k-NN with its features, and an embedding',
    async () => {
      const knn = (dump: string) => [
        ...[
          'eval-knn',
          '--data_path',
          data,
          ...network,
          '--nb_knn',
          '1',
          '3',
          '--temperature',
          '0.07',
          '0.5',
        ],
        ...['--dump_features', join(folder, dump), '--json'],
      ];
      const rows = (name: string) => ['embed', data, ...network, '--output', join(folder, name), '--json'];
      const found = launched('knn-logs', knn('two'));
      const one = await run(evalKnn, ...knn('one'));
      const described = await run(embed, ...rows('one.npy'));
      expect([one.code, described.code], one.err + described.err).toEqual([0, 0]);

      const two = await found.end;
      expect(two.code, two.stderr).toBe(0);
      expect(two.stdout).toBe(one.out);
      expect(filesOf(join(folder, 'two'))).toEqual(filesOf(join(folder, 'one')));
      expect(two.stderr).not.toContain('this is rank 1');
      expect(readFileSync(join(folder, 'knn-logs/rank1.log'), 'utf8')).toContain('this is rank 1');

      const embedded = await launched('embed-logs', rows('two.npy')).end;
      expect(embedded.code, embedded.stderr).toBe(0);
      expect(JSON.parse(embedded.stdout)).toEqual({
        ...JSON.parse(described.out),
        output: join(folder, 'two.npy'),
      });
      for (const ending of ['.npy', '.rows.csv', '.npy.json'])
        expect(readFileSync(join(folder, `two${ending}`))).toEqual(
          readFileSync(join(folder, `one${ending}`)),
        );
    },
    PATIENCE + 60_000,
  );

  it(
    'end when one is killed in the middle of an evaluation, whose checkpoint is whole',
    async () => {
      const output = join(folder, 'killed');
      const linear = (epochs: number) => [
        ...['eval-linear', '--data_path', data, ...network, '--output_dir', output, '--n_last_blocks', '1'],
        ...['--epochs', String(epochs)],
      ];
      const running = launched('killed-logs', linear(100_000));
      let isOver = false;
      void running.end.then(() => {
        isOver = true;
      });
      await expect
        .poll(() => isOver || running.stderr().includes('epoch 2/'), { timeout: PATIENCE })
        .toBe(true);
      expect(isOver, running.stderr()).toBe(false);
      const log = readFileSync(join(folder, 'killed-logs/rank1.log'), 'utf8');
      process.kill(Number(/this is rank 1, process (\d+)/.exec(log)?.[1]), 'SIGKILL');
      const { code, stderr } = await running.end;
      expect(code, stderr).toBe(1);
      const errors = stderr.split('\n').filter((line) => line.startsWith('error: '));
      expect(errors).toHaveLength(1);
      expect(errors[0]).toMatch(
        new RegExp(
          `rank 1 on ${hostname()} failed (at step \\d+|before the first step): its process was ended by SIGKILL`,
        ),
      );
      // One process can read how far it was, and that this was to be another evaluation.
      const after = await run(evalLinear, ...linear(2));
      expect([after.code, after.err]).toEqual([
        1,
        expect.stringContaining('it was made for --epochs 100000'),
      ]);
    },
    PATIENCE + 60_000,
  );

  it(
    'are found in the environment of other launchers',
    async () => {
      const store = await Store.serve('127.0.0.1', 0, 60_000);
      const output = join(folder, 'solved');
      const argv = [
        ...['eval-linear', '--data_path', data, ...network, '--output_dir', output, '--n_last_blocks', '1'],
        ...['--probe', 'logistic', '--local_rank', '0', '--json'],
      ];
      const environment = (rank: number) => ({
        RANK: String(rank),
        WORLD_SIZE: '2',
        LOCAL_RANK: String(rank),
        LOCAL_WORLD_SIZE: '2',
        MASTER_ADDR: '127.0.0.1',
        MASTER_PORT: String(store.port),
        TORCHELASTIC_USE_AGENT_STORE: 'True',
      });
      const [first, second] = await Promise.all([0, 1].map((rank) => start(argv, environment(rank)).end));
      expect(first.code, first.stderr).toBe(0);
      expect(second.code, second.stderr).toBe(0);
      expect(JSON.parse(first.stdout).best).toMatchObject({ acc1: 100, converged: true });
      expect(second.stdout).toBe('');
      // Libraries may have something to say there, the command has not.
      expect(second.stderr).not.toContain('The features are with rank 0');
      expect(readFileSync(join(output, 'logs/rank1.log'), 'utf8')).toContain('The features are with rank 0');
      expect(existsSync(join(output, 'features/trainfeat.npy'))).toBe(true);
    },
    PATIENCE + 60_000,
  );

  it(
    'are refused by a command that is not for them',
    async () => {
      const { code, stdout, stderr } = await launched('inspect-logs', ['inspect', micro]).end;
      expect([code, stdout]).toEqual([2, '']);
      expect(stderr).toMatch(
        /^error: esvit inspect is no command for several processes, and was started in 2;/m,
      );
      expect(stderr.match(/error:/g)).toHaveLength(1);
    },
    PATIENCE + 60_000,
  );
});
