/**
 * What does a recipe learn on CIFAR-10? `npx tsx bench/cifar10.ts --data FOLDER` (the original's zip layout) trains it from
 * several seeds and compares 20-NN accuracies with raw pixels and with the networks that it started from. Finished runs
 * are not repeated, interrupted ones go on. `--figure FILE.png` draws the loss curves.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { figurePng, lineChart } from '../src/draw/index.js';
import { writeFileAtomic } from '../src/files.js';
import { table } from './peer.js';

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    cfg: { type: 'string', default: 'configs/cifar10/swin_micro.yaml' },
    runs: { type: 'string', default: 'runs/cifar10-bench' },
    seeds: { type: 'string', default: '0,1,2' },
    threads: { type: 'string' },
    precision: { type: 'string', default: 'auto' },
    figure: { type: 'string' },
  },
});
const { data, cfg, runs, figure } = values;
if (data === undefined)
  throw new Error('--data FOLDER is missing: it holds train.zip, train_map.txt and so on');
const threads = values.threads === undefined ? [] : ['--threads', values.threads];

function esvit(command: string, ...flags: string[]): string {
  const main = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, ['--import', 'tsx', main, command, ...flags], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Error(`esvit ${command} ${flags.join(' ')} ended with ${status}`);
  return stdout;
}

const train = (seed: string, run: string, ...more: string[]) =>
  esvit(
    'train',
    ...[
      '--cfg',
      cfg,
      '--data_path',
      data,
      '--output_dir',
      run,
      '--seed',
      seed,
      '--precision',
      values.precision,
    ],
    ...['--quiet', ...threads, ...more],
  );

/** 20-NN top-1 in percent. */
function knn(...what: string[]): number {
  const settings = ['--nb_knn', '20', '--max_train', '10000', '--max_val', '2000', '--zip_mode', 'True'];
  const found = JSON.parse(
    esvit('eval-knn', ...what, '--data_path', data as string, ...settings, ...threads, '--quiet', '--json'),
  ) as { results: { top1: number }[] };
  return found.results[0].top1;
}

const percent = (value: number) => `${value.toFixed(2)}%`;
const raw = knn('--raw_pixels', 'True');
const rows = values.seeds.split(',').map((seed) => {
  const run = join(runs, `seed-${seed}`);
  const start = join(runs, `start-${seed}`);
  // The learning rate of the first step is 0: what is saved after it is the network that training starts from.
  if (!existsSync(join(start, 'checkpoint.pth'))) train(seed, start, '--max_iterations', '1');
  if (!existsSync(join(run, 'finished.json'))) train(seed, run);
  const metrics = readFileSync(join(run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { iteration: number; loss: number; contrast: number });
  return { seed, metrics, start: knn('--run', start), trained: knn('--run', run) };
});
console.log(`20-NN over 10,000 voters and 2,000 test pictures; raw pixels: ${percent(raw)}`);
console.log(
  table([
    ['seed', 'start', 'trained', 'beyond the start', 'beyond raw pixels'],
    ...rows.map(({ seed, start, trained }) => [
      seed,
      percent(start),
      percent(trained),
      (trained - start).toFixed(2),
      (trained - raw).toFixed(2),
    ]),
  ]),
);

if (figure !== undefined) {
  /** Means of so many steps each. */
  const SPAN = 50;
  const curve = (metrics: (typeof rows)[number]['metrics'], key: 'loss' | 'contrast') => {
    const parts = Array.from({ length: Math.floor(metrics.length / SPAN) }, (_, i) =>
      metrics.slice(i * SPAN, (i + 1) * SPAN),
    );
    return {
      x: parts.map((part) => part[0].iteration + SPAN / 2),
      y: parts.map((part) => part.reduce((sum, step) => sum + step[key], 0) / part.length),
    };
  };
  const chart = await lineChart(
    rows.flatMap(({ seed, metrics }) => [
      { name: `both tasks, seed ${seed}`, ...curve(metrics, 'loss') },
      { name: `contrast, seed ${seed}`, ...curve(metrics, 'contrast') },
    ]),
    { title: `Losses, means of ${SPAN} steps`, x: 'iteration', y: 'nats', width: 640, height: 320 },
  );
  writeFileAtomic(figure, await figurePng(chart));
}
