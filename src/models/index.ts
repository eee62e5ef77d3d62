/** Backbones behind one contract. */

export type {
  AttentionMap,
  Backbone,
  BlockFeatureOptions,
  Features,
} from './backbone.js';
export { type SwinSpec, swinSpec } from './config.js';
export { type BackboneRequest, backboneNames, buildBackbone, swinOptions } from './registry.js';
export { type SwinOptions, SwinTransformer } from './swin/swin.js';
export { VisionTransformer, type VitOptions } from './vit/vit.js';
