/** Embeddings: every format keeps features and names, and what was cut off is gone on with. */

import { appendFileSync, existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import {
  csvLine,
  EMBEDDING_FORMATS,
  type EmbeddedRow,
  EmbeddingParts,
  lookUp,
  readCsv,
  readEmbedding,
  tensorRows,
  writeEmbedding,
} from '../../src/eval/index.js';
import { manualSeed, randn, setThreads, tensor } from '../../src/torch/index.js';
import { temporaryFolder } from '../data/pictures.js';

setThreads(1);

const folder = temporaryFolder();
const NAMES = ['a/1.png', 'b, "quoted"/2.png', 'line\nend.png', '猫/é.png', ' space .png', ''];

function example() {
  manualSeed(1);
  const table = randn([NAMES.length, 5]);
  table.select(0, 0).select(0, 0).fill_(0.1).add_(1e-7);
  table.select(0, 0).select(0, 1).fill_(1e-30);
  return { features: tensorRows(table), names: NAMES, labels: Int32Array.of(0, 1, -1, 2, 0, 1), table };
}

describe.each(EMBEDDING_FORMATS)('.%s', (format) => {
  it('gives back features to the last bit, labels, and names of any letters', async () => {
    const path = join(folder, `some.${format}`);
    const { table, ...embedding } = example();
    writeEmbedding(path, embedding);
    const back = await readEmbedding(path);
    expect([...back.names]).toEqual(NAMES);
    expect([...back.labels]).toEqual([...embedding.labels]);
    expect(back.features.rows(0, NAMES.length).toArray()).toEqual(table.toArray());
  });

  it('that is not there, or that is something else, is a mistake', async () => {
    await expect(readEmbedding(join(folder, `none.${format}`))).rejects.toThrow(UserError);
    const path = join(folder, `text.${format}`);
    writeFileSync(path, 'name,label,f0,f1\nx,1,2,3\ny,1,2\n');
    await expect(readEmbedding(path)).rejects.toThrow(UserError);
  });
});

it('an unknown ending is a mistake that names the known ones', async () => {
  await expect(readEmbedding('x.txt')).rejects.toThrow(/\.npy, \.csv, \.parquet, \.safetensors/);
});

describe('csv', () => {
  it('gives back any fields', () => {
    const letter = fc.constantFrom('a', ',', '"', '\n', '\r\n', 'é', ' ', '猫');
    const field = fc.array(letter, { maxLength: 6 }).map((letters) => letters.join(''));
    const path = join(folder, 'any.csv');
    fc.assert(
      fc.property(fc.array(fc.array(field, { minLength: 2, maxLength: 4 }), { maxLength: 8 }), (records) => {
        writeFileSync(path, records.map(csvLine).join(''));
        expect([...readCsv(path)]).toEqual(records);
      }),
      { numRuns: 150, seed: 2 },
    );
  });

  it('is read in pieces that cut fields and letters anywhere', () => {
    const path = join(folder, 'long.csv');
    const records = Array.from({ length: 40_000 }, (_, i) => [`"${i}",\n猫`, 'x'.repeat(i % 50), `é${i}`]);
    writeFileSync(path, records.map(csvLine).join(''));
    let i = 0;
    for (const record of readCsv(path))
      if (record.join('|') !== records[i++].join('|')) expect(record).toEqual(records[i - 1]);
    expect(i).toBe(records.length);
  });
});

describe('parts', () => {
  const rowsOf = (first: number, count: number): EmbeddedRow[] =>
    Array.from({ length: count }, (_, i) => ({
      index: first + i,
      name: NAMES[(first + i) % NAMES.length],
      label: first + i,
    }));
  const values = (first: number, count: number) =>
    Float32Array.from({ length: count * 3 }, (_, i) => first * 3 + i);

  it.each([
    [
      'names that were not written',
      (at: string) => appendFileSync(join(at, 'features.f32'), Buffer.alloc(24)),
    ],
    ['features that were cut', (at: string) => truncateSync(join(at, 'features.f32'), 4 * 3 * 4 + 5)],
    ['a line that was cut', (at: string) => appendFileSync(join(at, 'rows.jsonl'), '[9,"cu')],
  ])('go on after %s', (_, harm) => {
    const at = temporaryFolder();
    const first = new EmbeddingParts(at, 'x');
    expect(first.next).toBe(0);
    first.append(values(0, 2), rowsOf(0, 2));
    first.append(values(2, 3), rowsOf(2, 3));
    first.close();
    harm(at);
    const second = new EmbeddingParts(at, 'x');
    const kept = second.rows.length;
    expect(kept).toBeGreaterThanOrEqual(4);
    expect(second.next).toBe(kept);
    second.append(values(kept, 7 - kept), rowsOf(kept, 7 - kept));
    expect(second.rows).toEqual(rowsOf(0, 7));
    expect(second.table.rows(0, 7).toArray()).toEqual(values(0, 7));
    expect(second.table.rows(5, 1).toArray()).toEqual(values(5, 1));
    second.remove();
    expect(existsSync(at)).toBe(false);
  });

  it('of another subject are not mixed up', () => {
    const at = temporaryFolder();
    const first = new EmbeddingParts(at, 'swin');
    first.append(values(0, 1), rowsOf(0, 1));
    first.close();
    expect(() => new EmbeddingParts(at, 'vit')).toThrow(
      /beginning of another embedding \(swin; now it is vit\)/,
    );
    expect(readFileSync(join(at, 'rows.jsonl'), 'utf8')).not.toBe('');
  });
});

it('looking up finds by the angle, not by the length, and no more than there is', () => {
  const table = tensor([
    [100, 0],
    [1, 1],
    [0, 0.001],
  ]);
  const embedding = { features: tensorRows(table), names: ['x', 'xy', 'y'], labels: Int32Array.of(5, -1, 2) };
  const [hits] = lookUp(embedding, tensor([[0.1, 2]]), 10);
  expect(hits.map(({ name, row, label }) => [name, row, label])).toEqual([
    ['y', 2, 2],
    ['xy', 1, -1],
    ['x', 0, 5],
  ]);
  expect(hits[0].similarity).toBeCloseTo(2 / Math.hypot(0.1, 2), 5);
});
