/** What the storms share: a small run, started as a person would, and the numbers that it ends with. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Tensor, TensorBase } from '../src/torch/index.js';
import { entryOf, type PyValue, readPth } from '../src/weights/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const BUILT = 'dist/cli/main.js';

/** Starts the training; what was built is used where it is there, since it starts sooner. */
export function start(pictures: string, output: string, ...more: string[]): ChildProcess {
  const program = existsSync(join(root, BUILT)) ? [BUILT] : ['--import', 'tsx', 'src/cli/main.ts'];
  const argv = [
    'train',
    '--cfg',
    'test/fixtures/micro.yaml',
    '--data_path',
    pictures,
    '--output_dir',
    output,
  ];
  // A large checkpoint after every iteration, so that a kill often meets it.
  const settings = ['--epochs', '24', '--checkpoint_every_iterations', '1', '--out_dim', '8192', '--quiet'];
  settings.push('--threads', '1');
  return spawn(process.execPath, [...program, ...argv, ...settings, ...more], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

export interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
}

/** How it ends; `onText` sees all that it has said so far, each time that it says more. */
export function ending(child: ChildProcess, onText?: (stderr: string) => void): Promise<Ending> {
  return new Promise((resolve, reject) => {
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
      onText?.(stderr);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stderr }));
  });
}

/** All that the last checkpoint of a run holds: weights, optimiser, centres, position, random states. */
export function finalState(output: string): string {
  const found: string[] = [];
  const walk = (place: string, value: PyValue | undefined): void => {
    if (value instanceof TensorBase)
      found.push(`${place} ${Buffer.from((value as Tensor).bytes()).toString('base64')}`);
    else if (value instanceof Map) for (const [key, item] of value) walk(`${place}.${String(key)}`, item);
    else found.push(`${place} ${JSON.stringify(value)}`);
  };
  const content = readPth(join(output, 'checkpoint.pth'));
  for (const key of ['student', 'teacher', 'optimizer', 'dino_loss', 'epoch', 'esvit'])
    walk(key, entryOf(content, key));
  return found.join('\n');
}
