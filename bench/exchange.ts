/**
 * What does the exchange of gradients cost, and how much of it is hidden behind backward? Two processes of this machine,
 * one thread each: `tsx bench/exchange.ts [STEPS]`.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeSampleData } from '../src/data/scenes/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const steps = Number(process.argv[2] ?? 20);
/** The first steps warm up. */
const SKIP = 4;
const folder = mkdtempSync(join(tmpdir(), 'esvit-exchange-'));

function measure(wire: string, accumulate: number): void {
  const output = join(folder, `${wire}-${accumulate}`);
  const argv = [
    ...['launch', '--nproc_per_node', '2', '--', 'train', '--data_path', join(folder, 'pictures')],
    ...[
      '--output_dir',
      output,
      '--defaults',
      'auto',
      '--precision',
      'fp32',
      '--threads',
      '1',
      '--num_workers',
      '1',
    ],
    ...[
      '--batch_size_per_gpu',
      '8',
      '--accumulate',
      String(accumulate),
      '--epochs',
      '20',
      '--gradient_wire',
      wire,
    ],
    ...['--max_iterations', String(steps), '--health_every', '0', '--quiet'],
  ];
  const { status } = spawnSync(process.execPath, ['dist/cli/main.js', ...argv], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) throw new Error(`the training ended with code ${status}`);
  const rows = readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .slice(SKIP)
    .map((line) => JSON.parse(line) as Record<string, number>);
  const mean = (name: string) => rows.reduce((sum, row) => sum + row[name], 0) / rows.length;
  const [busy, waited] = [mean('exchange_seconds'), mean('exchange_wait_seconds')];
  const speed = mean('images_per_second_rank0');
  console.log(
    `${wire}, ${accumulate} ${accumulate === 1 ? 'batch' : 'batches'} a step: ${mean('exchange_mb').toFixed(1)} MB sent by a rank, ` +
      `${(1000 * busy).toFixed(0)} ms under way, ${(1000 * waited).toFixed(0)} ms of them after backward ` +
      `(${(100 * (1 - waited / busy)).toFixed(0)}% hidden); a step takes ${((8 * accumulate) / speed).toFixed(2)} s`,
  );
}

try {
  await makeSampleData(join(folder, 'pictures'), { perClass: 40, valPerClass: 1, size: 64, seed: 1 });
  measure('fp32', 1);
  measure('bf16', 1);
  measure('fp32', 2);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
