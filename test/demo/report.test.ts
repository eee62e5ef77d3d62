import { parseHTML } from 'linkedom';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildReport, type ReportData, reportPngs, summarise } from '../../src/demo/index.js';
import { exampleReport } from './example.js';

let data: ReportData;
beforeAll(async () => {
  data = await exampleReport();
});

describe('the report', () => {
  it('is one page that needs nothing else', async () => {
    const html = await buildReport(data);
    const written = html.replace(/base64,[^"]*/g, '');
    for (const bad of [/(src|href)="(?!data:)/, /<script|<link|@import/, /NaN|undefined|Infinity/])
      expect(bad.test(written), String(bad)).toBe(false);
    expect(html.length).toBeLessThan(4_000_000);
    const { document } = parseHTML(html);
    const headings = [...document.querySelectorAll('h2')].map((h) => h.textContent);
    expect(headings).toEqual([
      'What came of it',
      'Nearest neighbours',
      'Regions that match between two views',
      'How training went',
      'What the network saw',
      'Do it again',
    ]);
    expect([...document.querySelectorAll('tbody th')].map((th) => th.textContent)).toEqual([
      'raw pixels',
      'untrained network',
      'trained network',
    ]);
    expect(document.querySelector('.verdict')?.textContent).toBe('✓ It learned');
    expect(document.querySelector('details code')?.textContent).toBe(data.config);
    expect(document.querySelectorAll('.grid > div')).toHaveLength(9);
    expect(html).toContain('ln(1024) = 6.93');
    const ids = [...html.matchAll(/ id="([^"]*)"/g)].map((match) => match[1]);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('leaves out what was not measured', async () => {
    const { loss } = data.curves;
    const bare = { ...data, curves: { loss }, crops: [], neighbours: [], correspondences: [] };
    const { document } = parseHTML(await buildReport(bare));
    expect([...document.querySelectorAll('h2')].map((h) => h.textContent)).toEqual([
      'What came of it',
      'How training went',
      'Do it again',
    ]);
    expect(document.querySelectorAll('.grid > div')).toHaveLength(1);
  });

  it('gives each figure as a PNG of twice its size', async () => {
    const files = await reportPngs(data);
    expect([...files.keys()].sort()).toEqual(
      [
        'correspondence-1.png',
        'correspondence-2.png',
        'crops.png',
        'effective-rank.png',
        'entropy.png',
        'feature-std.png',
        'gradient-norm.png',
        'kl.png',
        'knn.png',
        'loss.png',
        'lr.png',
        'momentum.png',
        'neighbours.png',
        'speed.png',
      ].sort(),
    );
    const loss = await sharp(files.get('loss.png')).metadata();
    expect(loss.width).toBe(840);
  });
});

describe('the verdict', () => {
  const withTop1 = (trained: number) =>
    summarise({ ...data, knn: { ...data.knn, trained: { name: 'trained network', top1: trained } } });

  it('is good only beyond the noise of the better baseline', () => {
    expect(withTop1(51.4).tone).toBe('good');
    expect(withTop1(20).tone).toBe('unclear');
    expect(withTop1(10).tone).toBe('bad');
  });

  it('says what was compared with what', () => {
    expect(withTop1(51.4).sentence).toBe(
      'After 3 min 7 s of training on 2,000 pictures without labels, 20-NN finds the class of 51.4% of 500 held-out pictures, ' +
        'against 18.6% with the untrained network and 12.2% with raw pixels.',
    );
  });
});
