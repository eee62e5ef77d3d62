/** The micro networks of golden cases: each family from its configuration, with the official names. */

import { describe, expect, it } from 'vitest';
import { buildNetwork } from '../../src/golden/network.js';

const head = { use_bn: false, norm_last_layer: true, nlayers: 2, hidden_dim: 8, bottleneck_dim: 4 };
const spec = {
  NUM_STAGES: 2,
  DIM_EMBED: [4, 8],
  NUM_HEADS: [1, 2],
  DEPTH: [1, 1],
  WINDOW_SIZE: [4, 4],
  DROP_PATH_RATE: 0.3,
};

describe.each([
  ['cvt', { spec, num_classes: 0 }, 'stage1.1.layers.0.0.fn.qkv.bn.running_var', 8],
  ['cvt', { ...spec, name: 'micro' }, 'stage1.0.proj.weight', 8],
  [
    'resnet',
    { block: 'BasicBlock', layers: [1, 1, 1, 1], width: 4 },
    'backbone.backbone.layer4.0.downsample.1.weight',
    32,
  ],
  ['resnet', { block: 'Bottleneck', layers: [1, 1, 1, 1] }, 'backbone.backbone.layer4.0.conv3.weight', 2048],
] as const)('%s from %j', (backbone, model, name, featureDim) => {
  it(`has ${name} and heads`, () => {
    const network = buildNetwork({ backbone, model, use_dense_prediction: true, out_dim: 6, head });
    const state = network.stateDict();
    expect([...state.keys()]).toContain(name);
    expect(state.get('head.mlp.0.weight')?.shape).toEqual([8, featureDim]);
    expect(state.get('head_dense.last_layer.weight_v')?.shape).toEqual([6, 4]);
  });
});
