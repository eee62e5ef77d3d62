/** Experiment files: the original's fields, our recipes, the PRETRAIN section. */

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadExperiment } from '../../src/train/experiment.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'esvit-experiment-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('experiment files', () => {
  it('take every kind of field of the original and name those that nothing reads', () => {
    const path = write(
      'full.yaml',
      `OUTPUT_DIR: out/
WORKERS: 2
PRINT_FREQ: 5
GPUS: [0]
AMP: {ENABLED: true}
MODEL:
  NAME: vision_longformer
  NUM_CLASSES: 1000
  PRETRAINED_LAYERS: ['*']
  SPEC: {DROP_PATH: 0.1, MSVIT: {ARCH: 'l1,h3,d96,n1,s1,g1,p4,f7', LN_EPS: 1e-06, POOL_METHOD: None}}
AUG: {MIXUP: 0.8, SCALE: [0.08, 1.0], TIMM_AUG: {USE_LOADER: true, RE_PROB: 0.25, COLOR_JITTER: 0.4}}
LOSS: {LABEL_SMOOTHING: 0.1}
CUDNN: {BENCHMARK: true, DETERMINISTIC: false, ENABLED: true}
DATASET: {DATASET: x, DATA_FORMAT: tsv, ROOT: x, NUM_SAMPLES_CLASS: average}
TEST: {BATCH_SIZE_PER_GPU: 8, IMAGE_SIZE: [224, 224], MODEL_FILE: '', INTERPOLATION: 3}
TRAIN:
  LR: 0.01
  LR_SCHEDULER: {METHOD: timm, ARGS: {sched: cosine, warmup_epochs: 5}}
  WITHOUT_WD_LIST: [bn, bias]
  OPTIMIZER: adamW
FINETUNE: {BASE_LR: 0.003}
SWA: {ENABLED: false}
INPUT: {MEAN: [0.5, 0.5, 0.5]}
DEBUG: {DEBUG: false}
`,
    );
    const { value, unused } = loadExperiment(path, ['MODEL.SPEC.MSVIT.MODE', '1']);
    expect(value.MODEL?.SPEC).toEqual({
      DROP_PATH: 0.1,
      MSVIT: { ARCH: 'l1,h3,d96,n1,s1,g1,p4,f7', LN_EPS: 1e-6, POOL_METHOD: 'None', MODE: 1 },
    });
    expect(unused).toContain('TRAIN');
    expect(unused).toContain('OUTPUT_DIR');
    expect(unused).not.toContain('MODEL');
  });

  it('take flags in PRETRAIN, checked like flags', () => {
    const path = write('recipe.yaml', 'PRETRAIN:\n  out_dim: 1024\n  local_crops_scale: [0.1, 0.4]\n');
    expect(loadExperiment(path, ['PRETRAIN.lr', '1e-3']).value.PRETRAIN).toEqual({
      out_dim: 1024,
      local_crops_scale: [0.1, 0.4],
      lr: 1e-3,
    });
    const typo = write('typo.yaml', 'PRETRAIN:\n  outdim: 1024\n');
    expect(() => loadExperiment(typo)).toThrow(
      `${typo}:2:3: unknown key PRETRAIN.outdim. Did you mean 'out_dim'?`,
    );
    expect(() => loadExperiment(path, ['PRETRAIN.lr', '0'])).toThrow('PRETRAIN.lr expected more than 0');
  });

  it('refuse unknown keys', () => {
    expect(() => loadExperiment(undefined, ['TRAIN.LRR', '1'])).toThrow("Did you mean 'LR'?");
    expect(() => loadExperiment(undefined, ['MODLE.NAME', 'x'])).toThrow("Did you mean 'MODEL'?");
  });
});

describe('our recipes', () => {
  const files = readdirSync('configs', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => join('configs', file))
    .sort();

  it('are there for Swin T, S, B and L with windows 7 and 14', () => {
    expect(files.filter((file) => file.startsWith(join('configs', 'swin')))).toHaveLength(8);
  });

  it.each(files)('%s loads and names a network', (file) => {
    const { value, unused } = loadExperiment(file);
    expect(value.MODEL?.NAME).toBeTypeOf('string');
    expect(unused).toEqual([]);
    const window = /window(\d+)/.exec(file)?.[1];
    if (window !== undefined) expect(value.MODEL?.SPEC?.WINDOW_SIZE).toBe(Number(window));
  });
});
