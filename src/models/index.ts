/** Backbones behind one contract. */

export type {
  AttentionMap,
  Backbone,
  BlockFeatureOptions,
  Features,
} from './backbone.js';
export { type SwinSpec, swinSpec } from './config.js';
export { ConvolutionalTransformer, type CvtOptions } from './cvt/cvt.js';
export { cvtOptions } from './cvt/cvt-family.js';
export { type CvtSpec, cvtSpec } from './cvt/cvt-spec.js';
export {
  compact,
  type ForeignWeights,
  NAMINGS,
  type Naming,
  readForeignWeights,
  renameWeights,
  toPrecision,
  writeHuggingFaceFolder,
} from './exchange.js';
export { backboneNames, buildBackbone, miniature } from './registry.js';
export type { BackboneRequest } from './request.js';
export { ResNet, type ResNetOptions } from './resnet/resnet.js';
export { type SwinOptions, SwinTransformer } from './swin/swin.js';
export { swinOptions } from './swin/swin-family.js';
export { FullAttention } from './vil/full-attention.js';
export { LongformerAttention } from './vil/longformer.js';
export type { VilOptions } from './vil/options.js';
export { VisionLongformer } from './vil/vil.js';
export { VisionTransformer, type VitOptions } from './vit/vit.js';
export {
  locateWeights,
  type PublishedModel,
  publishedModel,
  publishedModels,
  type WhereOptions,
} from './zoo.js';
