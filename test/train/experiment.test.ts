/** Experiment files: the original's fields, our recipes, the PRETRAIN section. */

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Backbone, buildBackbone } from '../../src/models/index.js';
import { withoutInitialisation } from '../../src/nn/index.js';
import { type LoadedExperiment, loadExperiment } from '../../src/train/experiment.js';

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
    expect(unused).toContain('MODEL.PRETRAINED_LAYERS');
    expect(unused).not.toContain('MODEL');
    expect(unused).not.toContain('MODEL.SPEC');
  });

  it("say a CvT as the original's files do, under their older name", () => {
    write(
      'base.yaml',
      `BASE: ['']
OUTPUT_DIR: 'out/'
MODEL:
  NAME: cls_cvt_v4
  SPEC:
    INIT: 'trunc_norm'
    NUM_STAGES: 2
    RES_STEM: True
    REL_POS_EMBED: False
    SHIFT: [False, True]
    DIM_EMBED: [8, 16]
    NUM_HEADS: [1, 2]
    DEPTH: [1, 1]
    MLP_RATIO: [4.0, 4.0]
    QKV_BIAS: [True, True]
    WINDOW_SIZE: [14, 7]
TRAIN: {LR: 5e-4, CLIP_GRAD_NORM: 5.0, NESTEROV: true, SHUFFLE: true}
DEBUG: {DEBUG: false}
`,
    );
    const path = write('derived.yaml', `BASE: ['base.yaml']\nMODEL:\n  SPEC:\n    REL_POS_EMBED: True\n`);
    const { value, unused } = loadExperiment(path);
    expect(unused).toEqual(['OUTPUT_DIR', 'TRAIN', 'DEBUG']);
    const names = [...networkOf(value).stateDict().keys()];
    expect(names).toContain('stage0.0.stem.7.running_mean');
    expect(names).toContain('stage1.1.layers.0.0.fn.rel_pos_bias_table');
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

/** The network of an experiment at full size, without drawing its weights. */
function networkOf({ MODEL: model }: LoadedExperiment['value']): Backbone {
  const spec = structuredClone(model?.SPEC ?? {}) as Record<string, unknown>;
  return withoutInitialisation(() => buildBackbone({ arch: model?.NAME ?? '', spec }));
}

describe('our recipes', () => {
  const files = readdirSync('configs', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => join('configs', file))
    .sort();

  it('are there for Swin T, S, B and L with windows 7 and 14', () => {
    expect(files.filter((file) => file.startsWith(join('configs', 'swin')))).toHaveLength(8);
  });

  it('are there for CvT s1 and s3 with windows, positions, masks and stems', () => {
    expect(files.filter((file) => file.startsWith(join('configs', 'cvt')))).toHaveLength(16);
  });

  it.each(files)('%s loads and builds a network', (file) => {
    const { value, unused } = loadExperiment(file);
    expect(networkOf(value).parameters().length).toBeGreaterThan(10);
    expect(unused).toEqual([]);
    const window = /window(\d+)/.exec(file)?.[1];
    if (window !== undefined) expect(value.MODEL?.SPEC?.WINDOW_SIZE).toBe(Number(window));
  });

  it.each([
    ['swin/swin_tiny_patch4_window14_224.yaml', 27_569_754],
    ['swin/swin_large_patch4_window7_224.yaml', 194_995_476],
    ['cvt/s1.yaml', 29_303_616],
    ['cvt/s1_rpe.yaml', 29_315_108],
    ['cvt/s1_shift.yaml', 29_303_616],
  ])('%s builds the published %d parameters', (file, published) => {
    const { value } = loadExperiment(join('configs', file));
    const count = networkOf(value)
      .parameters()
      .reduce((sum, { numel }) => sum + numel, 0);
    expect(count).toBe(published);
  });

  it.each(['s1', 's3'])('%s: variants differ in what their names say, and in nothing else', (name) => {
    const spec = (variant: string) => loadExperiment(`configs/cvt/${name}${variant}.yaml`).value.MODEL?.SPEC;
    const w14 = { WINDOW_SIZE: [14, 14, 14, 7] };
    const shift = { SHIFT: [true, true, true, true] };
    for (const [variant, fields] of Object.entries({
      _rpe: { REL_POS_EMBED: true },
      _shift: shift,
      _rpe_shift: { REL_POS_EMBED: true, ...shift },
      _w14: w14,
      _rpe_w14: { REL_POS_EMBED: true, ...w14 },
      _stem_w14: { RES_STEM: true, ...w14 },
      _rpe_stem_w14: { RES_STEM: true, REL_POS_EMBED: true, ...w14 },
    }))
      expect(spec(variant)).toEqual({ ...spec(''), ...fields });
  });
});
