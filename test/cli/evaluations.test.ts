/** The commands that evaluate, embed and search, from flags to files, with the smallest network. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { embed } from '../../src/cli/embed.js';
import { evalKnn } from '../../src/cli/eval-knn.js';
import { evalLinear } from '../../src/cli/eval-linear.js';
import { search } from '../../src/cli/search.js';
import { readEmbedding } from '../../src/eval/index.js';
import { temporaryFolder } from '../data/pictures.js';
import { writeLabelled } from '../eval/labelled-pictures.js';
import { run } from './harness.js';

const micro = fileURLToPath(new URL('../fixtures/micro.yaml', import.meta.url));
const network = ['--cfg', micro, '--image_size', '32', '--workers', '0', '--device', 'cpu', '--threads', '1'];

let data: string;
beforeAll(async () => {
  data = await writeLabelled(6);
});

const json = async (command: Parameters<typeof run>[0], ...argv: string[]) => {
  const { code, out, err } = await run(command, ...argv, '--json');
  expect(code, err).toBe(0);
  return JSON.parse(out);
};

describe('esvit eval-knn', () => {
  it('dumps features as the original, loads them, and logs accuracies by k', async () => {
    const folder = join(temporaryFolder(), 'features');
    const flags = ['--data_path', data, ...network, '--nb_knn', '1', '3', '--dump_features', folder];
    const first = await json(evalKnn, 'eval-knn', ...flags);
    expect(first).toMatchObject({ bank: 12, queries: 6 });
    expect(first.results.map(({ k }: { k: number }) => k)).toEqual([1, 3]);
    for (const name of ['trainfeat', 'trainlabels', 'testfeat', 'testlabels'])
      expect(existsSync(join(folder, `${name}.pth`))).toBe(true);
    const [line] = readFileSync(join(folder, 'log.txt'), 'utf8').trim().split('\n');
    const [{ top1, top5 }] = first.results;
    expect(JSON.parse(line)['1']).toEqual([top1, top5]);
    const again = await json(evalKnn, 'eval-knn', '--load_features', folder, '--nb_knn', '1', '3');
    expect(again).toEqual(first);
  });

  it('takes overrides, several temperatures, and says what is missing', async () => {
    const flags = ['--data_path', data, ...network, '--temperature', '0.07', '0.5', '--nb_knn', '2'];
    const { results } = await json(evalKnn, 'eval-knn', ...flags, 'MODEL.SPEC.DIM_EMBED', '8');
    expect(results.map(({ temperature }: { temperature: number }) => temperature)).toEqual([0.07, 0.5]);
    const { code, err } = await run(evalKnn, 'eval-knn');
    expect([code, err]).toEqual([2, expect.stringContaining('--data_path is missing')]);
  });
});

describe('esvit eval-linear', () => {
  const flags = (folder: string) => [
    '--data_path',
    data,
    ...network,
    '--output_dir',
    folder,
    '--n_last_blocks',
    '2',
  ];

  it('trains, keeps its state, and is done the second time', async () => {
    const folder = join(temporaryFolder(), 'linear');
    const few = [
      ...flags(folder),
      '--epochs',
      '2',
      '--lr',
      '10',
      '--batch_size_per_gpu',
      '4',
      '--val_freq',
      '2',
    ];
    const first = await json(evalLinear, 'eval-linear', ...few);
    expect(first).toMatchObject({ status: 'finished', epochs: 2, best: { blocks: 2, lr: 10 } });
    expect(first.best.best).toBeGreaterThanOrEqual(50);
    expect(existsSync(join(folder, 'checkpoint.pth.tar'))).toBe(true);
    const again = await run(evalLinear, 'eval-linear', ...few);
    expect(again.err).toContain('Going on after 2 of 2 epochs');
    const other = await run(evalLinear, 'eval-linear', ...few, '--lr', '1');
    expect([other.code, other.err]).toEqual([1, expect.stringContaining('holds classifiers of')]);
  });

  it('solves logistic regression for several penalties', async () => {
    const folder = join(temporaryFolder(), 'logistic');
    const { results, best } = await json(
      evalLinear,
      'eval-linear',
      ...flags(folder),
      '--probe',
      'logistic',
      '--logistic_c',
      '1',
      '0.1',
    );
    expect(results.map(({ c }: { c: number }) => c)).toEqual([0.1, 1]);
    expect(results.every(({ converged }: { converged: boolean }) => converged)).toBe(true);
    expect(best.acc1).toBe(100);
  });

  it('has at least as many labels as there are classes', async () => {
    const { code, err } = await run(
      evalLinear,
      'eval-linear',
      ...flags(temporaryFolder()),
      '--num_labels',
      '1',
    );
    expect([code, err]).toEqual([2, expect.stringContaining('have 2 classes')]);
  });
});

describe('esvit embed and search', () => {
  it('describe a set, and find its pictures by one of them', async () => {
    const folder = temporaryFolder();
    const index = join(folder, 'set.npy');
    const made = await json(embed, 'embed', data, '--output', index, ...network, '--batch_size', '5');
    expect(made).toMatchObject({ status: 'finished', rows: 12, width: 32, unreadable: 0 });
    expect(existsSync(`${index}.part`)).toBe(false);
    const { names } = await readEmbedding(index);
    expect(names).toContain('light/3.png');

    const query = join(data, 'train/light/3.png');
    const [html, png] = [join(folder, 'found.html'), join(folder, 'found.png')];
    const { queries } = await json(
      search,
      'search',
      query,
      '--index',
      index,
      '--top',
      '4',
      '--html',
      html,
      '--png',
      png,
    );
    expect(queries[0].hits).toHaveLength(4);
    expect(queries[0].hits[0]).toMatchObject({ rank: 1, name: 'light/3.png', class: 'light' });
    expect(queries[0].hits[0].similarity).toBeCloseTo(1, 5);
    const page = readFileSync(html, 'utf8');
    expect(page).toContain('light/3.png');
    expect(page.match(/<image /g)).toHaveLength(5);
    expect(readFileSync(png).subarray(1, 4).toString('latin1')).toBe('PNG');
  });

  it('say what is missing', async () => {
    const folder = temporaryFolder();
    const ending = await run(embed, 'embed', data, '--output', join(folder, 'set.txt'), ...network);
    expect([ending.code, ending.err]).toEqual([2, expect.stringContaining('.npy, .csv')]);
    const none = await run(
      search,
      'search',
      join(data, 'train/light/3.png'),
      '--index',
      join(folder, 'no.npy'),
    );
    expect([none.code, none.err]).toEqual([2, expect.stringContaining('esvit embed')]);
  });
});
