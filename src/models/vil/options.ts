/** What a Vision Longformer is built from. */

import type { StageSpec } from './arch.js';

/** The kinds of sparse attention; the two longformers are two ways to one result. */
export const ATTENTION_TYPES = [
  'full',
  'longformerhand',
  'longformerauto',
  'linformer',
  'srformer',
  'performer',
] as const;

export type AttentionType = (typeof ATTENTION_TYPES)[number];

/**
 * How chunks at the border and the reach of a query are treated. 0: a query sees the chunks around its own,
 * nothing beyond the border. 1: exactly `chunk` tokens to each side of the query. -1: as 0, but the map is
 * closed to a ring, so that border chunks see those of the other side.
 */
export type Exactness = -1 | 0 | 1;

export interface VilOptions {
  stages: readonly StageSpec[];
  /** the size that positions are made for; others can be given at run time */
  imgSize: number;
  avgPool: boolean;
  dropRate: number;
  /** rate of the last block; it grows linearly from 0 */
  dropPathRate: number;
  normEmbed: boolean;
  qkvBias: boolean;
  normEps: number;
  attentionType: AttentionType;
  /** global tokens use the projections of the local ones */
  shareWeights: boolean;
  /** linformer: keys and values are reduced by the same map */
  shareKv: boolean;
  /** local tokens see global ones only */
  onlyGlobal: boolean;
  exact: Exactness;
  /** 0: all chunks around a query's own; -1: its own only; above 0: in training its own and a random one */
  mode: number;
  /** share of the training after which a mode above 0 becomes 0 */
  modeSwitch: number;
  poolMethod: 'mean' | 'fc' | null;
  gate: 'SE' | 'ECA' | null;
  /** width of the gate's hidden layer (SE) or kernel (ECA), as a share of the channels */
  gateRatio: number;
  mlpRatio: number;
}

/** What the attention of one stage is built from. */
export interface StageAttentionOptions
  extends Pick<
    VilOptions,
    'qkvBias' | 'dropRate' | 'shareWeights' | 'shareKv' | 'onlyGlobal' | 'exact' | 'mode' | 'poolMethod'
  > {
  dim: number;
  numHeads: number;
  globals: number;
  /** tokens of the stage at the size of construction */
  grid: Grid;
  /** a bias for relative positions */
  relative: boolean;
  /** side of a chunk, number of features, or rate of reduction */
  features: number;
  /** chunks also see the pooled map */
  pooled: boolean;
}

/** Rows and columns of a map. */
export type Grid = readonly [rows: number, columns: number];
