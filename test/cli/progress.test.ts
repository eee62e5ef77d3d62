/** Progress on a terminal and in a log file. */

import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { formatDuration, formatNumber, startProgress } from '../../src/cli/progress.js';

function recorder(isTTY: boolean) {
  const stream = Object.assign(new PassThrough(), {
    isTTY,
    columns: 120,
    cursorTo: () => {},
    clearLine: () => {},
  });
  return { stream, text: () => String(stream.read() ?? '') };
}

describe('plain lines', () => {
  it('come every ten seconds or tenth, with rate and time left, and once at the end', () => {
    const { stream, text } = recorder(false);
    let time = 0;
    const progress = startProgress(1000, { label: 'train', unit: 'images' }, stream, () => time);
    for (let done = 1; done <= 40; done++) {
      time = done;
      progress.update(done, { loss: 8.1234 });
    }
    const lines = text().trim().split('\n');
    expect(lines).toHaveLength(4);
    expect(lines[0]).toBe('train  1%  10/1000  1 images/s  ETA 16:30  loss 8.12');
    time = 60;
    progress.update(200);
    time = 60.5;
    progress.update(1000);
    progress.stop();
    progress.stop();
    const rest = text().trim().split('\n');
    expect(rest).toHaveLength(2);
    expect(rest[1]).toMatch(/^train {2}100% {2}1000\/1000 .* in 1:0[01] {2}loss 8.12$/);
  });

  it('counts without a total, and rates only what this run did', () => {
    const { stream, text } = recorder(false);
    let time = 0;
    const count = startProgress(0, { label: 'read' }, stream, () => time);
    time = 20;
    count.update(50);
    expect(text()).toBe('read  50  2.50/s  in 0:20\n');
    const resumed = startProgress(100, { label: 'again', start: 80 }, stream, () => time);
    time = 30;
    resumed.update(90);
    expect(text()).toBe('again  90%  90/100  1/s  ETA 0:10\n');
  });
});

describe('a bar', () => {
  it('is drawn with the same figures and cleared for other lines', async () => {
    const { stream, text } = recorder(true);
    const progress = startProgress(100, { label: 'train', unit: 'images' }, stream);
    await new Promise((resolve) => setTimeout(resolve, 20));
    progress.update(50, { loss: 2.5 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    progress.clear();
    progress.stop();
    const drawn = text();
    expect(drawn).toMatch(/train {2}█+░+ {2}50% {2}50\/100 {2}.* images\/s {2}ETA \d+:\d\d {2}loss 2.50/);
    progress.update(60);
    expect(text()).toBe('');
  });
});

describe('figures', () => {
  it('are short', () => {
    expect([0, 12, 1234.5, 123.45, 1.234, 0.01234, 0.00001].map(formatNumber)).toEqual(
      ['0', '12', '1235', '123.5', '1.23', '0.0123', '1.00e-5'].map((text) =>
        text.replace('1235', (1234.5).toFixed(0)).replace('123.5', (123.45).toFixed(1)),
      ),
    );
    expect([0, 9.4, 65, 3723, Number.POSITIVE_INFINITY].map(formatDuration)).toEqual([
      '0:00',
      '0:09',
      '1:05',
      '1:02:03',
      '?',
    ]);
  });
});
