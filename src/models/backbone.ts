/** What every backbone answers for itself, so that nothing outside this room asks which one it is. */

import type { Module } from '../nn/index.js';
import type { Tensor } from '../torch/index.js';

export interface Features {
  /** [B, featureDim] one vector a picture */
  pooled: Tensor;
  /** [B, N, featureDim] one vector a region, row by row */
  tokens: Tensor;
  /** rows and columns of regions; their product is N */
  grid: readonly [rows: number, columns: number];
}

/** The attention probabilities of one block; local attention without windows is written out, with zeros. */
export interface AttentionMap {
  /** number of the block, counted through all stages */
  block: number;
  stage: number;
  /**
   * [B * windows, heads, L, L] (windows = 1 for global attention); rows sum to 1. Where L is more than the number of
   * regions, tokens of another kind (class token, global tokens) come first.
   */
  probabilities: Tensor;
  /** regions of the picture at this block, before padding */
  grid: readonly [rows: number, columns: number];
  /** side of a window, 0 for global attention */
  windowSize: number;
  /** by how much the windows are shifted */
  shift: number;
}

export interface BlockFeatureOptions {
  /** also append the mean over the regions of the last block, where the architecture has a class token */
  avgpoolPatchTokens?: boolean;
}

export interface Backbone extends Module {
  /** width of `pooled` and of `tokens` */
  readonly featureDim: number;
  /** number of blocks in each stage */
  readonly depths: readonly number[];

  /** x: [B, 3, H, W], normalised, of any size that holds one patch */
  forwardFeatures(x: Tensor): Features;

  /** Pooled features of the last `count` blocks, side by side: [B, sum of their widths]. */
  blockFeatures(x: Tensor, count: number, options?: BlockFeatureOptions): Tensor;

  /** The attention of every block whose queries and keys are tokens; an empty list where the architecture has none. */
  attentionMaps(x: Tensor): AttentionMap[];

  /** Told the share of the training that is done (0..1) before each epoch, where a network trains in phases. */
  trainingProgress?(share: number): void;
}

/** Collects attention maps as blocks run. */
export type AttentionObserver = (map: Omit<AttentionMap, 'block' | 'stage'>) => void;
