/** Does a run end with the same weights however often it is killed? SIGKILL at random moments, then resume. */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeSampleData } from '../src/data/scenes/index.js';
import { type Tensor, TensorBase } from '../src/torch/index.js';
import { entryOf, type PyValue, readPth } from '../src/weights/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const kills = Number(process.argv[2] ?? 20);

/** Runs the training; kills it after so many milliseconds. Whether it was killed. */
function train(pictures: string, output: string, killAfter?: number): Promise<boolean> {
  const argv = [
    'train',
    '--cfg',
    'test/fixtures/micro.yaml',
    '--data_path',
    pictures,
    '--output_dir',
    output,
  ];
  const more = ['--epochs', '60', '--checkpoint_every_minutes', '0.01', '--quiet'];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...argv, ...more], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfter);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (signal === 'SIGKILL') resolve(true);
      else if (code === 0) resolve(false);
      else reject(new Error(`the training ended with code ${code}`));
    });
  });
}

function weights(output: string): string[] {
  const found: string[] = [];
  const walk = (place: string, value: PyValue | undefined): void => {
    if (value instanceof TensorBase)
      found.push(`${place} ${Buffer.from((value as Tensor).bytes()).toString('base64')}`);
    else if (value instanceof Map) for (const [key, item] of value) walk(`${place}.${String(key)}`, item);
  };
  const content = readPth(join(output, 'checkpoint.pth'));
  for (const key of ['student', 'teacher', 'optimizer', 'dino_loss']) walk(key, entryOf(content, key));
  return found;
}

const folder = mkdtempSync(join(tmpdir(), 'esvit-kill-'));
try {
  const pictures = join(folder, 'pictures');
  await makeSampleData(pictures, { perClass: 8, valPerClass: 1, size: 40, seed: 1 });
  const start = performance.now();
  await train(pictures, join(folder, 'whole'));
  const longest = performance.now() - start;
  console.log(`undisturbed: ${(longest / 1000).toFixed(1)} s`);
  let killed = 0;
  let runs = 0;
  while (killed < kills) {
    const output = join(folder, `broken-${runs++}`);
    let alive = true;
    while (alive) {
      const isDone = !(await train(
        pictures,
        output,
        killed < kills ? 1000 + Math.random() * 0.6 * longest : undefined,
      ));
      if (isDone) alive = false;
      else killed++;
    }
    const same = JSON.stringify(weights(output)) === JSON.stringify(weights(join(folder, 'whole')));
    console.log(`run ${runs}: ${killed} kills so far, weights ${same ? 'equal' : 'DIFFER'}`);
    if (!same) process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
