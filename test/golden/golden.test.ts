/** Our numbers beside those that the original computed; scripts/copy-fixtures.ts made the selection. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type GoldenCase, readManifest, runCase } from '../../src/golden/index.js';
import { cudaAvailable, setThreads } from '../../src/torch/index.js';

const folder = fileURLToPath(new URL('../fixtures/golden', import.meta.url));
const cases = readManifest(folder);

setThreads(1);

describe('the fixtures', () => {
  it('hold every file that their manifest names', () => {
    const files = cases.flatMap(({ files }) => files);
    expect(files.filter((file) => !existsSync(join(folder, file)))).toEqual([]);
  });

  it('cover every kind that needs no photographs', () => {
    const kinds = [...new Set(cases.map(({ kind }) => kind))].sort();
    expect(kinds).toEqual([
      'arch',
      'checkpoint',
      'graph',
      'knn',
      'linear',
      'loss',
      'schedule',
      'trajectory',
      'vil_attn',
    ]);
  });
});

describe('golden', () => {
  it.each(cases)('$name', async (golden) => {
    const { failures, checks } = await runCase(golden, folder);
    expect(failures).toEqual([]);
    expect(checks).toBeGreaterThan(0);
  });
});

describe('a case of tensors', () => {
  const computed = ['arch', 'graph', 'knn', 'linear', 'loss', 'trajectory', 'vil_attn'];
  const one = computed.map((kind) => cases.find((golden) => golden.kind === kind) as GoldenCase);

  it.skipIf(cudaAvailable()).each(one)(
    '$kind is not computed on a CPU when a GPU is asked for',
    async (golden) => {
      const { ok, failures } = await runCase({ ...golden, device: 'cuda' }, folder);
      expect(ok).toBe(false);
      expect(JSON.stringify(failures)).toMatch(/cuda/i);
    },
  );
});

/** The comparison itself: a wrong number must not pass. */
describe('a case', () => {
  const named = (name: string): GoldenCase => {
    const found = cases.find((golden) => golden.name === name);
    if (found === undefined) throw new Error(`no case ${name}`);
    return found;
  };

  it('fails where a setting of it is another one', async () => {
    const golden = named('loss/dino_2crops');
    const wrong = { ...golden, config: { ...golden.config, student_temp: 0.11 } };
    const { ok, failures } = await runCase(wrong, folder);
    expect(ok).toBe(false);
    expect(failures.map(({ name }) => name)).toContain('step0.loss');
  });

  it('fails where a schedule has another length', async () => {
    const golden = named('schedule/lr_small');
    const wrong = { ...golden, config: { ...golden.config, epochs: 2 } };
    expect((await runCase(wrong, folder)).ok).toBe(false);
  });

  it('fails where the teacher moves a little faster', async () => {
    const golden = named('trajectory/swin_sgd');
    const wrong = { ...golden, config: { ...golden.config, momentum_teacher: 0.899 } };
    expect((await runCase(wrong, folder)).ok).toBe(false);
  });

  it('fails, and says why, where its kind is unknown or a file is missing', async () => {
    const unknown = await runCase({ ...named('knn/c10'), kind: 'tarot' }, folder);
    expect(unknown.failures[0].detail).toMatch(/'tarot' are not implemented/);
    const missing = await runCase({ ...named('knn/c10'), files: ['knn/none.safetensors'] }, folder);
    expect(missing.failures[0].detail).toMatch(/no file/);
  });
});
