import { parseHTML } from 'linkedom';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import {
  barChart,
  blank,
  contactSheet,
  correspondenceFigure,
  type Figure,
  figurePng,
  htmlPage,
  lineChart,
  smoothed,
} from '../../src/draw/index.js';

/** Renders, so that broken SVG fails, and says how much of it is not background. */
async function inked(figure: Figure): Promise<number> {
  const { data, info } = await sharp(await figurePng(figure, { scale: 1 }))
    .raw()
    .toBuffer({ resolveWithObject: true });
  expect(Math.abs(info.width - figure.width)).toBeLessThanOrEqual(1);
  expect(Math.abs(info.height - figure.height)).toBeLessThanOrEqual(1);
  let count = 0;
  for (let i = 0; i < data.length; i += info.channels) if (data[i] + data[i + 1] + data[i + 2] < 600) count++;
  return count / (info.width * info.height);
}

const ramp = (length: number, value: (i: number) => number) => ({
  x: Array.from({ length }, (_, i) => i),
  y: Array.from({ length }, (_, i) => value(i)),
});

describe('line charts', () => {
  it('are standalone SVG with title, axes, legend and reference line', async () => {
    const figure = await lineChart(
      [
        { name: 'student & co', ...ramp(50, (i) => 6 - i / 20) },
        { name: 'teacher', ...ramp(50, (i) => 5 - i / 20) },
      ],
      {
        title: 'Loss',
        x: 'iteration',
        y: 'nats',
        references: [{ y: Math.log(1024), text: 'ln(1024)' }],
      },
    );
    for (const text of ['Loss', 'iteration', 'nats', 'student &amp; co', 'teacher', 'ln(1024)'])
      expect(figure.svg).toContain(text);
    expect(figure.svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    expect(figure.svg).not.toContain('<style');
    expect(await inked(figure)).toBeGreaterThan(0.01);
  });

  it('leave gaps at values that are not finite, and survive runs without any', async () => {
    const { svg } = await lineChart([{ name: 'loss', ...ramp(9, (i) => (i === 4 ? Number.NaN : i)) }], {
      title: 't',
      x: 'x',
      y: 'y',
    });
    expect(svg).not.toContain('NaN');
    expect(svg.match(/<path [^>]*d="(M[^"]*)"/g)?.some((d) => (d.match(/M/g)?.length ?? 0) >= 2)).toBe(true);
    await inked(await lineChart([{ name: 'loss', x: [], y: [] }], { title: 't', x: 'x', y: 'y' }));
    await inked(await lineChart([{ name: 'loss', x: [0], y: [Number.NaN] }], { title: 't', x: 'x', y: 'y' }));
    await inked(
      await lineChart([{ name: 'norm', ...ramp(5, (i) => i * 10) }], {
        title: 't',
        x: 'x',
        y: 'y',
        logarithmic: true,
      }),
    );
  });

  it('thin out very long runs and keep the last value', async () => {
    const long = await lineChart([{ name: 'loss', ...ramp(200_000, (i) => Math.cos(i)) }], {
      title: 't',
      x: 'x',
      y: 'y',
    });
    expect(long.svg.length).toBeLessThan(60_000);
  });

  it('smooth by a running mean that skips gaps', () => {
    expect(Array.from(smoothed([1, Number.NaN, 3, 8], 1))).toEqual([1, 2, 5.5, 5.5]);
  });
});

describe('bar charts', () => {
  it('start at zero and write each value out', async () => {
    const figure = await barChart(
      [
        { name: 'raw pixels', value: 12.25, error: 2 },
        { name: 'trained', value: 51.5 },
      ],
      {
        title: 'k-NN',
        x: '%',
        most: 100,
        format: (v) => `${v.toFixed(1)}%`,
        reference: { value: 10, text: 'chance' },
      },
    );
    for (const text of ['12.3%', '51.5%', 'raw pixels', 'chance']) expect(figure.svg).toContain(text);
    expect(await inked(figure)).toBeGreaterThan(0.05);
  });
});

describe('contact sheets', () => {
  it('mark right and wrong by frame and sign as well as colour', async () => {
    const picture = blank(16, 16, [90, 90, 90]);
    const figure = await contactSheet(
      [
        {
          text: 'row',
          cells: [
            { picture, mark: 'query', text: 'fish' },
            { picture, mark: 'right' },
            { picture, mark: 'wrong', text: '<b>' },
          ],
        },
      ],
      { title: 'sheet', columns: ['query', '1', '2'], firstGap: 10 },
    );
    const { document } = parseHTML(`<body>${figure.svg}</body>`);
    const frames = [...document.querySelectorAll('rect')];
    expect(frames).toHaveLength(3);
    expect(frames.map((frame) => frame.hasAttribute('stroke-dasharray'))).toEqual([false, false, true]);
    expect(document.querySelectorAll('circle')).toHaveLength(2);
    expect(figure.svg).toContain('&lt;b&gt;');
    expect(await inked(figure)).toBeGreaterThan(0.2);
  });

  it('keep the proportion of smaller pictures', async () => {
    const { svg } = await contactSheet(
      [{ cells: [{ picture: blank(64, 64) }, { picture: blank(32, 32) }] }],
      { title: 't', side: 80 },
    );
    expect(svg).toContain('width="80" height="80"');
    expect(svg).toContain('width="40" height="40"');
    const small = { picture: blank(32, 32) };
    const sheet = (stack: boolean) =>
      contactSheet([{ cells: [{ picture: blank(64, 64) }, small, small, small] }], {
        title: 't',
        side: 80,
        stack,
      });
    expect((await sheet(false)).width - (await sheet(true)).width).toBe(48);
  });
});

describe('correspondences', () => {
  it('draw one line a match, the surest last, over a scale in numbers', async () => {
    const matches = [
      { from: [0.1, 0.1], to: [0.2, 0.2], similarity: 0.9 },
      { from: [0.5, 0.5], to: [0.5, 0.5], similarity: 0.3 },
    ] as const;
    const figure = await correspondenceFigure(blank(32, 32), blank(48, 24), matches, {
      title: 'm',
      focus: { from: [0.5, 0.5], to: [0.4, 0.4] },
    });
    const { document } = parseHTML(`<body>${figure.svg}</body>`);
    const lines = [...document.querySelectorAll('line')].map((line) => line.getAttribute('stroke'));
    expect(lines).toHaveLength(4);
    expect(lines.at(-1)).toBe('#fde725');
    expect(figure.svg).toContain('>0.3</text>');
    expect(figure.svg).toContain('>0.9</text>');
    expect(await inked(figure)).toBeGreaterThan(0.01);
    await inked(await correspondenceFigure(blank(8, 8), blank(8, 8), [], { title: 'none' }));
  });
});

describe('pages', () => {
  it('escape every text and fetch nothing', () => {
    const evil = '<script>alert("x")</script> & \'y\'';
    const html = htmlPage({
      title: evil,
      summary: evil,
      verdict: { tone: 'good', text: evil },
      footer: evil,
      sections: [
        {
          title: evil,
          blocks: [
            { kind: 'text', text: evil },
            { kind: 'code', text: evil },
            { kind: 'facts', facts: [[evil, evil]] },
            { kind: 'table', head: [evil, evil], rows: [[evil, evil]], strong: 0 },
            { kind: 'details', summary: evil, blocks: [{ kind: 'text', text: evil }] },
          ],
        },
      ],
    });
    expect(html).not.toContain('<script');
    expect(html.match(/&lt;script&gt;/g)?.length).toBe(16);
    expect(html).not.toMatch(/(src|href)="(?!data:)/);
    expect(html).not.toMatch(/@import|url\(/);
    expect(html).toContain('prefers-color-scheme: dark');
    const { document } = parseHTML(html);
    expect(document.querySelector('code')?.textContent).toBe(evil);
    expect(document.querySelectorAll('td')).toHaveLength(1);
  });
});
