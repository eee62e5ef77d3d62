/** `esvit models`: the list, and a file beside what was published of its model. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { models } from '../../src/cli/models.js';
import { makeSampleData } from '../../src/data/scenes/index.js';
import { buildBackbone } from '../../src/models/index.js';
import { manualSeed, scope } from '../../src/torch/index.js';
import { writeSafetensors } from '../../src/weights/index.js';
import { run } from './harness.js';

const folder = mkdtempSync(join(tmpdir(), 'esvit-models-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('esvit models', () => {
  it('lists names with the figures that were published, and says that the links are dead', async () => {
    const { code, out } = await run(models, 'models');
    expect(code).toBe(0);
    expect(out).toMatch(/esvit_swin_tiny_w7 +28M +view \+ region +ImageNet-1K +78\.0% +75\.7%/);
    expect(out).toMatch(/links that the authors published are dead/);
    const { out: json } = await run(models, 'models', '--json');
    expect(JSON.parse(json).models[5]).toMatchObject({
      name: 'esvit_swin_base_w14',
      linear: 81.3,
      knn: 79.3,
    });
  });

  it('says which names there are', async () => {
    expect((await run(models, 'models', 'verify')).err).toMatch(/Which model\? .*esvit_swin_tiny_w7/);
    const { code, err } = await run(models, 'models', 'verify', 'esvit_swin_tiny');
    expect(code).toBe(2);
    expect(err).toMatch(/no published model 'esvit_swin_tiny'.*esvit models lists them/);
  });

  it('verifies a file: its k-NN stands beside the published one', async () => {
    const pictures = join(folder, 'pictures');
    await makeSampleData(pictures, { perClass: 1, valPerClass: 1, size: 64, seed: 1 });
    manualSeed(1);
    scope(() =>
      writeSafetensors(
        join(folder, 'esvit_swin_tiny_w7.safetensors'),
        buildBackbone({ arch: 'swin_tiny' }).stateDict(),
      ),
    );
    const flags = ['--weights_base', folder, '--data_path', pictures, '--nb_knn', '1', '--max_val', '4'];
    const { code, out, err } = await run(models, 'models', 'verify', 'esvit_swin_tiny_w7', ...flags);
    expect(err).toMatch(/esvit_swin_tiny_w7\.safetensors: \d+ tensors used\./);
    expect(out).toMatch(
      /esvit_swin_tiny_w7: k-NN top-1 [\d.]+% here \(k = 1\), published 75\.7% on ImageNet-1K/,
    );
    expect(out).toMatch(/Only a part of the pictures was used/);
    expect(code).toBe(0);
  }, 240_000);
});
