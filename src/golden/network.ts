/** Micro networks of the `graph` and `trajectory` cases, from their configuration. */

import { z } from 'zod';
import { type Backbone, SwinTransformer, VisionTransformer } from '../models/index.js';
import { DinoHead, MultiCropNetwork } from '../ssl/index.js';

const swinModel = z.looseObject({
  img_size: z.number(),
  patch_size: z.number(),
  embed_dim: z.number(),
  depths: z.array(z.number()),
  num_heads: z.array(z.number()),
  window_size: z.number(),
  mlp_ratio: z.number(),
  qkv_bias: z.boolean(),
  norm_eps: z.number(),
  patch_norm: z.boolean(),
  drop_path_rate: z.number(),
});

const deitModel = z.looseObject({
  img_size: z.array(z.number()),
  patch_size: z.number(),
  embed_dim: z.number(),
  depth: z.number(),
  num_heads: z.number(),
  mlp_ratio: z.number(),
  qkv_bias: z.boolean(),
  norm_eps: z.number(),
});

export const networkSchema = z.looseObject({
  backbone: z.string(),
  model: z.record(z.string(), z.unknown()),
  use_dense_prediction: z.boolean(),
  out_dim: z.number(),
  head: z.looseObject({
    use_bn: z.boolean(),
    norm_last_layer: z.boolean(),
    nlayers: z.number(),
    hidden_dim: z.number(),
    bottleneck_dim: z.number(),
  }),
});

const BACKBONES: Record<string, (model: unknown) => Backbone> = {
  swin(model) {
    const m = swinModel.parse(model);
    return new SwinTransformer({
      imgSize: m.img_size,
      patchSize: m.patch_size,
      embedDim: m.embed_dim,
      depths: m.depths,
      numHeads: m.num_heads,
      windowSize: m.window_size,
      mlpRatio: m.mlp_ratio,
      qkvBias: m.qkv_bias,
      dropRate: 0,
      attnDropRate: 0,
      dropPathRate: m.drop_path_rate,
      ape: false,
      patchNorm: m.patch_norm,
      normEps: m.norm_eps,
    });
  },
  deit(model) {
    const m = deitModel.parse(model);
    return new VisionTransformer({
      imgSize: m.img_size[0],
      patchSize: m.patch_size,
      embedDim: m.embed_dim,
      depth: m.depth,
      numHeads: m.num_heads,
      mlpRatio: m.mlp_ratio,
      qkvBias: m.qkv_bias,
      dropRate: 0,
      attnDropRate: 0,
      dropPathRate: 0,
      normEps: m.norm_eps,
    });
  },
};

export function buildNetwork(config: z.output<typeof networkSchema>): MultiCropNetwork {
  const builder = BACKBONES[config.backbone];
  if (builder === undefined) throw new Error(`the backbone '${config.backbone}' is not built here yet`);
  const backbone = builder(config.model);
  const { use_bn, norm_last_layer, nlayers, hidden_dim, bottleneck_dim } = config.head;
  const head = () =>
    new DinoHead({
      inDim: backbone.featureDim,
      outDim: config.out_dim,
      useBn: use_bn,
      normLastLayer: norm_last_layer,
      nlayers,
      hiddenDim: hidden_dim,
      bottleneckDim: bottleneck_dim,
    });
  return new MultiCropNetwork(backbone, head(), config.use_dense_prediction ? head() : null);
}
