/** `esvit train` from the outside: it resumes exactly, ends in good order and explains what is wrong. */

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeSampleData } from '../../src/data/scenes/index.js';
import { esvit } from './cli.js';
import { contents } from './contents.js';

const folder = mkdtempSync(join(tmpdir(), 'esvit-train-'));
const pictures = join(folder, 'pictures');
const cfg = 'test/fixtures/micro.yaml';
const run = (name: string) => join(folder, name);
const train = (name: string, ...more: string[]) => [
  'train',
  ...[
    '--cfg',
    cfg,
    '--data_path',
    pictures,
    '--output_dir',
    run(name),
    '--checkpoint_every_minutes',
    '0.005',
  ],
  ...more,
];

beforeAll(async () => {
  await makeSampleData(pictures, { perClass: 8, valPerClass: 2, size: 40, seed: 1 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const metrics = (name: string) =>
  readFileSync(join(run(name), 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const { iteration, loss, lr } = JSON.parse(line) as Record<string, number>;
      return [iteration, loss, lr];
    });

describe('a run that is interrupted', () => {
  it('ends with the weights of an undisturbed one, bit for bit', async () => {
    const long = (name: string, ...more: string[]) => train(name, '--epochs', '40', ...more);
    const whole = await esvit(long('whole', '--num_workers', '1'));
    expect(whole.stderr + whole.stdout).toContain('Finished after 400 iterations');

    // the first line of progress comes after a second, long before the end
    const after = 'iterations/s';
    const first = await esvit(long('broken', '--num_workers', '2'), { signal: 'SIGKILL', after });
    expect(first.signal).toBe('SIGKILL');
    const second = await esvit(long('broken', '--max_iterations', '217'));
    expect(second.code).toBe(0);
    const third = await esvit(long('broken'), { signal: 'SIGINT', after });
    expect(third.stderr).toContain('Going on with the run');
    // as a crash of the machine may leave it: the one before is used, and it is said
    truncateSync(join(run('broken'), 'checkpoint.pth'), 20_000);
    const last = await esvit(long('broken'));
    expect(last.stderr).toMatch(/put aside as .*checkpoint_broken\.pth; the run goes on from .*_prev1\.pth/);
    expect(last.stdout).toContain('Finished after 400 iterations');

    expect(contents(join(run('broken'), 'checkpoint.pth'))).toEqual(
      contents(join(run('whole'), 'checkpoint.pth')),
    );
    expect(metrics('broken')).toEqual(metrics('whole'));
  });

  it.each([
    ['SIGTERM', 143],
    ['SIGUSR1', 138],
  ] as const)('by %s says so and leaves with its code', async (signal, expected) => {
    const name = `by-${signal}`;
    const { code, stdout } = await esvit(train(name, '--epochs', '400'), { signal, after: 'iterations/s' });
    expect(stdout).toContain(`${signal} came`);
    expect(code).toBe(expected);
    expect(existsSync(join(run(name), 'checkpoint.pth'))).toBe(true);
    expect(existsSync(join(run(name), 'run.lock'))).toBe(false);
  });
});

describe('a finished run', () => {
  it('is not overwritten, but may be trained for longer', async () => {
    await esvit(train('done', '--epochs', '1'));
    const again = await esvit(train('done', '--epochs', '1'));
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('is finished');
    const longer = await esvit(train('done', '--epochs', '2'));
    expect(longer.code).toBe(0);
    expect(longer.stdout).toContain('Finished after 20 iterations');
    const log = readFileSync(join(run('done'), 'log.txt'), 'utf8')
      .trim()
      .split('\n');
    expect(log.map((line) => JSON.parse(line).epoch)).toEqual([0, 1]);
    expect(Object.keys(JSON.parse(log[0]))).toEqual(['train_loss', 'train_lr', 'train_wd', 'epoch']);
  });
});

describe('a file to go on from', () => {
  it('is continued in another folder as in its own', async () => {
    const before = join(run('done'), 'checkpoint_prev1.pth'); // the end of its first epoch
    const copy = await esvit(train('copy', '--epochs', '2', '--resume', before));
    expect(copy.stdout).toContain('Finished after 20 iterations');
    expect(contents(join(run('copy'), 'checkpoint.pth'))).toEqual(
      contents(join(run('done'), 'checkpoint.pth')),
    );
    const other = await esvit(train('other', '--epochs', '2', '--resume', before, '--out_dim', '32'));
    expect(other.stderr).toMatch(/the run of .*_prev1\.pth has out_dim 64, now it is 32/);
    expect(other.code).toBe(2);
  });
});

describe('k-NN', () => {
  it('is watched in training and measured afterwards', async () => {
    const watched = await esvit(train('knn', '--epochs', '1', '--knn_every', '1', '--json'));
    expect(watched.code).toBe(0);
    expect(JSON.parse(watched.stdout).knn[0]).toMatchObject({ k: 10 });
    const dump = join(folder, 'features');
    const measured = await esvit([
      ...['eval-knn', '--run', run('knn'), '--data_path', pictures, '--nb_knn', '5', '--dump_features', dump],
      '--json',
    ]);
    expect(measured.code).toBe(0);
    const again = await esvit(['eval-knn', '--load_features', dump, '--nb_knn', '5', '--json']);
    expect(JSON.parse(again.stdout)).toEqual(JSON.parse(measured.stdout));
  });
});

describe('what cannot work', () => {
  const expectations: [name: string, argv: string[], code: number, words: RegExp][] = [
    ['a missing folder', ['train', '--data_path', '/nowhere/at/all'], 1, /does not exist/],
    ['no data at all', ['train'], 2, /--data_path is missing/],
    ['a flag with a typo', ['train', '--data_pth', 'x'], 2, /--data_path/],
    ['a value of the wrong kind', train('bad', '--epochs', 'many'), 2, /epochs/],
    ['a key with a typo', train('bad', 'MODEL.SPEC.WINDOW_SIZES', '7'), 2, /WINDOW_SIZE/],
    ['heads that do not divide', train('bad', 'MODEL.SPEC.NUM_HEADS', '[3,2]'), 2, /16.*3|3.*16/],
    ['a crop smaller than a patch', train('bad', '--local_crops_size', '2'), 2, /smaller than a patch/],
    ['other settings than were begun', train('knn', '--out_dim', '32', '--epochs', '9'), 2, /out_dim/],
  ];
  it.each(expectations)('%s', async (_name, argv, code, words) => {
    const outcome = await esvit(argv);
    expect(outcome.stderr).toMatch(words);
    expect(outcome.code).toBe(code);
    expect(outcome.stderr).not.toContain('    at ');
  });

  it('a folder without pictures', async () => {
    const empty = join(folder, 'empty');
    mkdirSync(empty);
    writeFileSync(join(empty, 'notes.txt'), 'nothing to see');
    const outcome = await esvit(['train', '--data_path', empty]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/no pictures|no images/i);
  });

  it('a checkpoint of another network', async () => {
    const outcome = await esvit([
      ...['eval-knn', '--arch', 'swin_tiny', '--pretrained_weights', join(run('knn'), 'checkpoint.pth')],
      ...['--data_path', pictures],
    ]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/does not fit this network/);
  });
});
