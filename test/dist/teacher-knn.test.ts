/** k-NN during a run, over several ranks: unreadable pictures change neither rows nor accuracy. */

import { afterEach, describe, expect, it } from 'vitest';
import { hasCollectives } from '../../src/dist/index.js';
import { encode, render, writeTree } from '../data/pictures.js';
import { onOne, onRanks, reap } from './ranks.js';
import { BATCH, type TeacherKnn } from './teacher-knn.js';

afterEach(reap);

/** Four classes of different drawings; those of `unreadable` are no pictures. */
async function folder(perClass: number, unreadable: (index: number) => boolean): Promise<string> {
  const files: Record<string, Uint8Array> = {};
  for (let index = 0; index < 4 * perClass; index++) {
    const name = `class${Math.floor(index / perClass)}/${String(index).padStart(3, '0')}.png`;
    const seed = 1000 * Math.floor(index / perClass) + (index % 5);
    files[name] = unreadable(index)
      ? Buffer.from('no picture')
      : await encode(render(20 + (index % 3), 22, seed));
  }
  return writeTree(files);
}

describe.skipIf(!hasCollectives())('k-NN of several ranks', () => {
  it('is that of one, also where a rank can read none of its pictures', async () => {
    const argument = {
      // of two ranks the second has the batches 1 and 3
      bank: await folder((5 * BATCH) / 4, (index) => Math.floor(index / BATCH) % 2 === 1),
      queries: await folder(10, (index) => index < 5 || index === 20 || index === 39),
    };
    const [one, two] = await Promise.all([
      onOne<TeacherKnn>('teacherKnn', argument),
      onRanks<TeacherKnn>(2, 'teacherKnn', argument),
    ]);
    expect(one.skipped).toBe(2 * BATCH);
    expect(one.indices).toEqual(
      Array.from({ length: 5 * BATCH }, (_, i) => i).filter((i) => Math.floor(i / BATCH) % 2 === 0),
    );
    expect(one.results.map(({ k }) => k)).toEqual([10, 20]);
    for (const { top1 } of one.results) expect(top1).toBeGreaterThan(25); // of chance
    for (const rank of two) expect(rank).toEqual(one);
  }, 300_000);
});
