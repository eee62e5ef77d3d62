/** Backbones behind one contract. */

export type {
  AttentionMap,
  Backbone,
  BlockFeatureOptions,
  Features,
} from './backbone.js';
export { type SwinOptions, SwinTransformer } from './swin/swin.js';
