/** Micro networks of the `graph` and `trajectory` cases, from their configuration. */

import { z } from 'zod';
import {
  type Backbone,
  buildBackbone,
  ConvolutionalTransformer,
  cvtOptions,
  cvtSpec,
  ResNet,
  SwinTransformer,
  VisionTransformer,
} from '../models/index.js';
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

/** The arguments of the original's constructor, with its defaults. */
const vilModel = z.looseObject({
  arch: z.string(),
  img_size: z.number(),
  drop_path_rate: z.number().default(0),
  norm_embed: z.boolean().default(false),
  avg_pool: z.boolean().default(false),
  sharew: z.boolean().default(false),
  share_kv: z.boolean().default(false),
  only_glo: z.boolean().default(false),
  attn_type: z.string().default('longformerhand'),
  sw_exact: z.number().default(0),
  mode: z.number().default(0),
  pool_method: z.string().nullable().default(null),
  with_se: z.union([z.string(), z.boolean()]).nullable().default(null),
  se_mlp_ratio: z.number().default(0.625),
  se_mlp_balance: z.boolean().default(false),
});

/** The constructor's fields, with the experiment file's section as one of them, or that section itself. */
const cvtModel = z.looseObject({ spec: z.record(z.string(), z.unknown()).optional() });

/** torchvision's words: the class of a block and how many of them each stage has. */
const resnetModel = z.looseObject({
  block: z.string(),
  layers: z.array(z.number()),
  width: z.number().optional(),
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
  vil(model) {
    const m = vilModel.parse(model);
    return buildBackbone({
      arch: 'vil',
      imgSize: m.img_size,
      spec: {
        DROP_PATH: m.drop_path_rate,
        NORM_EMBED: m.norm_embed,
        AVG_POOL: m.avg_pool,
        MSVIT: {
          ARCH: m.arch,
          SHARE_W: m.sharew,
          SHARE_KV: m.share_kv,
          ONLY_GLOBAL: m.only_glo,
          ATTN_TYPE: m.attn_type,
          SW_EXACT: m.sw_exact,
          MODE: m.mode,
          POOL_METHOD: m.pool_method,
          WITH_SE: m.with_se === false ? null : m.with_se,
          SE_MLP_RATIO: m.se_mlp_ratio,
          SE_MLP_BALANCE: m.se_mlp_balance,
        },
      },
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
  cvt(model) {
    const { spec, ...fields } = cvtModel.parse(model);
    const known = Object.entries(spec ?? fields).filter(([name]) => name in cvtSpec.shape);
    return new ConvolutionalTransformer(cvtOptions(cvtSpec.parse(Object.fromEntries(known)), 0));
  },
  resnet(model) {
    const { block, layers, width = 64 } = resnetModel.parse(model);
    return new ResNet({ block: /bottleneck/i.test(block) ? 'bottleneck' : 'basic', layers, width });
  },
};

/** Named after the family in other words there. */
const ALIASES: Readonly<Record<string, string>> = {
  swin_transformer: 'swin',
  vit: 'deit',
  cvt_v4_transformer: 'cvt',
};

export function buildNetwork(config: z.output<typeof networkSchema>): MultiCropNetwork {
  const builder = BACKBONES[ALIASES[config.backbone] ?? config.backbone];
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
