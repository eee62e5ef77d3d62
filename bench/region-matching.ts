/**
 * Does region matching help to find a region again? View-only against view + region training at the same number of
 * steps, several seeds, measured on pairs of views whose true map is known:
 * `npx tsx bench/region-matching.ts [--seeds N] [--epochs N] [--per_class N]`.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { table } from './peer.js';

const argument = (name: string, fallback: number) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};
const seeds = argument('seeds', 3);
const epochs = argument('epochs', 4);
const perClass = argument('per_class', 200);

const PAIRS = 100;
const SIZE = 64;
/** Regions of 16 pixels in the demo's network: views of this side have 8 x 8 of them. */
const VIEW = 128;

const folder = mkdtempSync(join(tmpdir(), 'esvit-regions-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const inFolder = (...names: string[]) => join(folder, ...names);
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

function esvit(...flags: string[]): Record<string, unknown> {
  const command = ['--import', 'tsx', path('../src/cli/main.ts'), ...flags, '--json', '--quiet'];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`esvit ${flags.join(' ')}: ${stderr}`);
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Percent of all regions that are matched rightly, or with the one beside. */
function accuracy(run: string): number {
  const out = inFolder('analysis');
  esvit(
    'analyze',
    ...['--run', run, '--pairs', inFolder('pairs'), '--image_size', String(VIEW), '--output_dir', out],
  );
  const numbers = JSON.parse(readFileSync(join(out, 'analysis.json'), 'utf8')) as {
    'Correspondence between scenes': { accuracy: number };
  };
  return 100 * numbers['Correspondence between scenes'].accuracy;
}

esvit('sample-data', inFolder('pictures'), '--per_class', String(perClass), '--size', String(SIZE));
esvit(
  'sample-data',
  inFolder('pairs'),
  '--pairs',
  String(PAIRS),
  '--size',
  String(VIEW),
  '--variation',
  '0.5',
);

const TASKS = { 'views alone': 'False', 'views and regions': 'True' } as const;
const found: Record<string, number[]> = { untrained: [] };
for (let seed = 0; seed < seeds; seed++)
  for (const [name, dense] of Object.entries(TASKS)) {
    const train = (run: string, ...flags: string[]) =>
      esvit(
        ...[
          'train',
          '--cfg',
          path('../configs/demo/scenes.yaml'),
          '--data_path',
          inFolder('pictures', 'train'),
        ],
        ...['--output_dir', run, '--seed', String(seed), '--use_dense_prediction', dense, ...flags],
      );
    const run = inFolder(`${name.replaceAll(' ', '-')}-${seed}`);
    train(run, '--epochs', String(epochs));
    found[name] = [...(found[name] ?? []), accuracy(run)];
    if (dense === 'False') continue;
    // One step at a learning rate of nothing: the weights as they were drawn.
    const before = inFolder(`untrained-${seed}`);
    train(
      before,
      '--epochs',
      '1',
      '--max_iterations',
      '1',
      '--lr',
      '1e-12',
      '--min_lr',
      '0',
      '--momentum_teacher',
      '1',
    );
    found.untrained.push(accuracy(before));
  }

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const deviation = (values: readonly number[]) =>
  Math.sqrt(
    values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / Math.max(1, values.length - 1),
  );
console.log(
  `Regions of ${PAIRS} pairs of views matched rightly or with the one beside; ${10 * perClass} pictures, ${epochs} epochs, ${seeds} seeds`,
);
console.log(
  table([
    ['', 'percent', 'deviation over seeds', 'each'],
    ...Object.entries(found).map(([name, values]) => [
      name,
      mean(values).toFixed(1),
      deviation(values).toFixed(1),
      values.map((value) => value.toFixed(1)).join(' '),
    ]),
  ]),
);
