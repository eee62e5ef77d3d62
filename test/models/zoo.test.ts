/** The published models as data, and finding their files. */

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { buildBackbone, locateWeights, publishedModels } from '../../src/models/index.js';
import { scope } from '../../src/torch/index.js';
import { loadExperiment } from '../../src/train/index.js';

const root = mkdtempSync(join(tmpdir(), 'esvit-zoo-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const project = fileURLToPath(new URL('../..', import.meta.url));

function put(path: string): string {
  const whole = join(root, path);
  mkdirSync(dirname(whole), { recursive: true });
  writeFileSync(whole, '');
  return whole;
}

describe('the published models', () => {
  it('have names of their own', () => {
    expect(new Set(publishedModels.map(({ name }) => name)).size).toBe(publishedModels.length);
    expect(publishedModels.length).toBe(11);
  });

  it.each([...new Set(publishedModels.map(({ cfg }) => cfg))])(
    '%s builds a network of the published size, with the published windows',
    (cfg) => {
      expect(existsSync(join(project, cfg))).toBe(true);
      const { SPEC: spec } = loadExperiment(join(project, cfg)).value.MODEL ?? {};
      const models = publishedModels.filter((model) => model.cfg === cfg);
      for (const { window } of models) expect(spec?.WINDOW_SIZE).toBe(window);
      const parameters = scope(() => {
        const backbone = buildBackbone({
          arch: 'swin',
          spec: structuredClone(spec) as Record<string, unknown>,
        });
        return backbone.parameters().reduce((sum, { numel }) => sum + numel, 0);
      });
      // The published counts are rounded to millions, in either direction.
      for (const model of models) expect(Math.abs(parameters / 1e6 - model.parameters)).toBeLessThan(1);
    },
    120_000,
  );
});

describe('the file of a name', () => {
  it('lies below the folder that was set, under its name or where the authors had it', async () => {
    const [tiny, small] = publishedModels;
    const named = put(`named/${tiny.name}.pth`);
    expect(await locateWeights(tiny.name, { base: join(root, 'named') })).toBe(named);
    const mirrored = put(`mirror/${small.originalPath}`);
    expect(await locateWeights(small.name, { base: join(root, 'mirror') })).toBe(mirrored);
    await expect(locateWeights(small.name, { base: join(root, 'named') })).rejects.toThrow(
      /holds no esvit_swin_small_w7\.pth/,
    );
  });

  it('is somebody else to give: the links are dead', async () => {
    const before = process.env.ESVIT_WEIGHTS;
    delete process.env.ESVIT_WEIGHTS;
    await expect(locateWeights(publishedModels[0].name)).rejects.toThrow(/links are dead.*--weights_base/);
    process.env.ESVIT_WEIGHTS = join(root, 'named');
    const path = await locateWeights(publishedModels[0].name);
    expect(path).toBe(join(root, 'named', `${publishedModels[0].name}.pth`));
    if (before === undefined) delete process.env.ESVIT_WEIGHTS;
    else process.env.ESVIT_WEIGHTS = before;
  });

  it('is no file, and no typo of one', async () => {
    await expect(locateWeights('esvit_swin_tiny_w8')).rejects.toThrow(/Did you mean 'esvit_swin_tiny_w7'/);
    await expect(locateWeights('weights/none.pth')).rejects.toThrow(/There is no file weights\/none\.pth/);
    const file = put('some.pth');
    expect(await locateWeights(file)).toBe(file);
  });
});
