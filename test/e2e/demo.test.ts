/** `esvit demo`, as small as it gets: the story is told to its end and the report is whole. */

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { esvit } from './cli.js';

const folder = mkdtempSync(join(tmpdir(), 'esvit-demo-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('ends with a report that needs no other file', async () => {
  const outcome = await esvit([
    ...['demo', '--output', folder, '--cfg', 'test/fixtures/micro.yaml'],
    ...['--per_class', '8', '--val_per_class', '2', '--figures', 'True', '--json'],
  ]);
  expect(outcome.stderr).not.toContain('bug in esvit');
  expect(outcome.code).toBe(0);
  const { knn, regions, report } = JSON.parse(outcome.stdout);
  expect(report).toBe(join(folder, 'report.html'));
  for (const row of [knn.rawPixels, knn.untrained, knn.trained]) {
    expect(row.top1).toBeGreaterThanOrEqual(0);
    expect(row.top5).toBeGreaterThanOrEqual(row.top1);
  }
  expect(regions.trained).toBeLessThanOrEqual(1);
  const page = readFileSync(report, 'utf8');
  for (const title of ['What came of it', 'Nearest neighbours', 'Regions that match', 'How training went'])
    expect(page).toContain(title);
  expect(page).not.toMatch(/(?:src|href)="https?:/);
  for (const name of ['knn.png', 'loss.png', 'crops.png', 'neighbours.png', 'correspondence-1.png'])
    expect(existsSync(join(folder, name))).toBe(true);
});
