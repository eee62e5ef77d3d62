/** `npm run bench -- [--data FOLDER] [--rounds N]`: every benchmark, each in a process of its own, one after the other. */

import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';

const argument = (name: string) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};
const rounds = argument('rounds') ?? '5';
const data = argument('data');

function bench(title: string, file: string, ...flags: string[]): void {
  console.log(`\n${title}`);
  const path = fileURLToPath(new URL(file, import.meta.url));
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', path, '--rounds', rounds, ...flags], {
    stdio: 'inherit',
  });
  if (status !== 0) process.exitCode = 1;
}

console.log(`${cpus().length} x ${cpus()[0].model}, Node ${process.versions.node}`);
bench('A training step, batch 2', 'train-step.ts', '--batch', '2');
bench('A training step, batch 4', 'train-step.ts', '--batch', '4');
bench('Half precision, batch 2', 'train-step.ts', '--batch', '2', '--bf16');
bench('Half precision, batch 4', 'train-step.ts', '--batch', '4', '--bf16');
bench('Calling operators', 'dispatch.ts');
if (data === undefined)
  console.log('\nThe data path: left out, since no --data FOLDER with photos was given.');
else bench('The data path', 'data-path.ts', '--data', data);
