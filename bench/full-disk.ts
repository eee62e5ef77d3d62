/** Does a run survive a disk that fills up? A small tmpfs is filled again and again, with kills while it is full. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeSampleData } from '../src/data/scenes/index.js';
import { fillDisk, mountDisk, unmountDisk } from '../test/e2e/tmpfs.js';
import { ending, finalState, start } from './storm.js';

const rounds = Number(process.argv[2] ?? 12);

const folder = mkdtempSync(join(tmpdir(), 'esvit-full-'));
const disk = join(folder, 'disk');
if (!mountDisk(disk, 32 << 20)) throw new Error(`a tmpfs cannot be mounted at ${disk}; that needs root`);
try {
  const pictures = join(folder, 'pictures');
  await makeSampleData(pictures, { perClass: 8, valPerClass: 1, size: 40, seed: 1 });
  await ending(start(pictures, join(folder, 'whole')));
  const state = finalState(join(folder, 'whole'));
  const ballast = join(disk, 'ballast');
  const tally = { filled: 0, warned: 0, killed: 0, refused: 0, different: 0 };

  for (let round = 0; round < rounds; round++) {
    const output = join(disk, `run-${round}`);
    // Fill it while the run is going, and kill it in every second round while it is full.
    const child = start(pictures, output, '--checkpoint_every_minutes', '0');
    const isKilled = round % 2 === 1;
    let isFull = false;
    let isWarned = false;
    const filling = setInterval(() => {
      if (isFull || spawnSync('test', ['-e', join(output, 'checkpoint_prev1.pth')]).status !== 0) return;
      isFull = true;
      tally.filled++;
      fillDisk(ballast);
    }, 20);
    const end = await ending(child, (stderr) => {
      if (isWarned || !stderr.includes('No checkpoint')) return;
      isWarned = true;
      tally.warned++;
      if (isKilled) child.kill('SIGKILL');
      else rmSync(ballast, { force: true });
    });
    clearInterval(filling);
    if (isKilled) {
      tally.killed++;
      // Still full: it must say so, or get through where it needs no more room, but never spoil what is there.
      const full = await ending(start(pictures, output));
      if (full.code === 1 && full.stderr.includes('disk is full')) tally.refused++;
      rmSync(ballast, { force: true });
      const again = await ending(start(pictures, output));
      if (again.code !== 0) throw new Error(`it does not go on: ${again.stderr}`);
    } else if (end.code !== 0) throw new Error(`it ended with code ${end.code}: ${end.stderr}`);
    const same = finalState(output) === state;
    if (!same) tally.different++;
    console.log(`round ${round + 1}: ${same ? 'the same numbers' : 'OTHER NUMBERS'}`);
    rmSync(output, { recursive: true, force: true });
    rmSync(ballast, { force: true });
  }
  console.log(
    `${tally.filled} times full: ${tally.warned} saves failed and were said to, ${tally.killed} runs killed while full, ` +
      `${tally.refused} starts refused while full; ${tally.different} runs that ended with other numbers.`,
  );
  if (tally.different > 0) process.exitCode = 1;
} finally {
  unmountDisk(disk);
  rmSync(folder, { recursive: true, force: true });
}
