import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunFolder, readEntries } from '../../src/run/index.js';

const fresh = () => join(mkdtempSync(join(tmpdir(), 'esvit-run-')), 'run');

describe('RunFolder', () => {
  it('tells a fresh, an interrupted and a finished run apart', () => {
    const folder = RunFolder.open(fresh());
    expect(folder.status).toBe('fresh');
    writeFileSync(folder.checkpointPath, 'x');
    expect(folder.status).toBe('interrupted');
    folder.finish({ epochs: 3 });
    expect(folder.status).toBe('finished');
    folder.reopen();
    expect(folder.status).toBe('interrupted');
    folder.close();
  });

  it('drops what was written after the state from which a run goes on, and a cut line', () => {
    const folder = RunFolder.open(fresh());
    for (let iteration = 0; iteration < 5; iteration++) folder.metric({ iteration, loss: iteration / 2 });
    folder.log({ epoch: 0, train_loss: 2 });
    folder.log({ epoch: 1, train_loss: 1 });
    folder.flush();
    appendFileSync(folder.metricsPath, '{"iteration": 5, "lo');
    folder.rewind({ epoch: 1, iteration: 3 });
    expect(readEntries(folder.metricsPath).map(({ iteration }) => iteration)).toEqual([0, 1, 2]);
    expect(readFileSync(join(folder.path, 'log.txt'), 'utf8')).toBe('{"epoch":0,"train_loss":2}\n');
    folder.close();
  });

  it('is claimed by one living process at a time', () => {
    const path = fresh();
    const folder = RunFolder.open(path);
    expect(() => RunFolder.open(path)).toThrow(/in use by process/);
    folder.close();
    writeFileSync(join(path, 'run.lock'), '1'); // process 1 always lives
    expect(() => RunFolder.open(path)).toThrow(/in use by process 1/);
    writeFileSync(join(path, 'run.lock'), '999999999');
    RunFolder.open(path).close();
    expect(existsSync(join(path, 'run.lock'))).toBe(false);
  });

  it('clears what a killed process left half written', () => {
    const path = fresh();
    RunFolder.open(path).close();
    for (const name of ['.checkpoint.pth.77.tmp', '.checkpoint.new.pth', 'mine.tmp'])
      writeFileSync(join(path, name), 'x');
    const folder = RunFolder.open(path);
    folder.close();
    expect(readdirSync(path)).toEqual(['mine.tmp']);
  });

  it('leaves no temporary file behind', () => {
    const folder = RunFolder.open(fresh());
    folder.writeConfig({ epochs: 3 });
    expect(folder.readConfig()).toEqual({ epochs: 3 });
    folder.close();
    expect(readdirSync(folder.path)).toEqual(['config.json']);
  });

  it('names an unreadable picture once, over all starts of the run', () => {
    const path = fresh();
    for (let start = 0; start < 2; start++) {
      const folder = RunFolder.open(path);
      folder.badImage('a.png', 'empty');
      folder.badImage('b\tc.png', 'broken');
      folder.badImage('a.png', 'gone');
      folder.close();
    }
    expect(readFileSync(join(path, 'bad-images.txt'), 'utf8')).toBe('a.png\tempty\nb c.png\tbroken\n');
  });

  it('names a folder that cannot be made', () => {
    expect(() => RunFolder.open('/dev/null/run')).toThrow(/cannot (make|write).*\/dev\/null\/run/);
  });
});
