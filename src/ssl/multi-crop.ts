/** A backbone with its heads, run on crops of several sizes; written once for all backbones. */

import type { Backbone } from '../models/index.js';
import { Module } from '../nn/index.js';
import { cat, scope, type Tensor } from '../torch/index.js';
import type { DinoHead } from './head.js';

/** What a network says of all crops. Rows: crop by crop, within a crop picture by picture. */
export interface MultiCropOutput {
  /** [crops * B, K] logits of the views */
  cls: Tensor;
  /** [crops * B, P] of unit length, from which the head makes its logits */
  embedding?: Tensor;
  /** [crops * B, featureDim] what the backbone says of the views */
  pooled?: Tensor;
  /** What is there for matching regions, rows again crop by crop, picture by picture, then region by region. */
  dense?: {
    /** [tokens, K] logits of the regions */
    region: Tensor;
    /** [tokens, featureDim] features of the regions, by which they are matched */
    features: Tensor;
  };
  /** One entry for each size of crops, in order. */
  groups: readonly CropGroup[];
}

export interface CropGroup {
  /** how many crops of this size each picture has */
  views: number;
  /** regions in a crop of this size */
  regions: number;
}

/** How many crops each picture has. */
export function cropsOf({ groups }: MultiCropOutput): number {
  return groups.reduce((sum, { views }) => sum + views, 0);
}

/** State names are the official ones: the backbone's own without a prefix, then `head.` and `head_dense.`. */
export class MultiCropNetwork extends Module {
  constructor(
    readonly backbone: Backbone,
    readonly head: DinoHead,
    readonly headDense: DinoHead | null,
  ) {
    super();
  }

  override *modules(prefix = ''): Generator<[string, Module]> {
    yield* this.backbone.modules(prefix);
    yield* this.head.modules(`${prefix}head.`);
    if (this.headDense !== null) yield* this.headDense.modules(`${prefix}head_dense.`);
  }

  /** crops: for each size one tensor [views * batch, 3, s, s], view by view */
  forward(crops: readonly Tensor[], batch: number): MultiCropOutput {
    return scope(() => {
      const { headDense } = this;
      const pooled: Tensor[] = [];
      const tokens: Tensor[] = [];
      const groups: CropGroup[] = [];
      for (const group of crops) {
        const features = this.backbone.forwardFeatures(group);
        const [, regions, width] = features.tokens.sizes(3);
        pooled.push(features.pooled);
        groups.push({ views: group.shape[0] / batch, regions });
        if (headDense !== null) tokens.push(features.tokens.reshape([-1, width]));
      }
      const views = joined(pooled);
      const embedding = this.head.embed(views);
      const cls = this.head.lastLayer.forward(embedding);
      if (headDense === null) return { cls, embedding, pooled: views, groups };
      const features = joined(tokens);
      return {
        cls,
        embedding,
        pooled: views,
        dense: { region: headDense.forward(features), features },
        groups,
      };
    });
  }
}

function joined(parts: readonly Tensor[]): Tensor {
  return parts.length === 1 ? parts[0] : cat(parts, 0);
}
