/** What is known of single families beside the contract: variants, and the grid of regions of a picture. */

import type { BackboneRequest } from '../../src/models/index.js';

/** Networks with what is off in every named one. */
export const VARIANTS: Readonly<Record<string, BackboneRequest>> = {
  'two Swin stages of an odd window': {
    arch: 'swin',
    spec: { DIM_EMBED: 8, DEPTHS: [1, 2], NUM_HEADS: [2, 4], PATCH_SIZE: 2, WINDOW_SIZE: 3 },
    imgSize: 32,
  },
  'Swin with positions and dropout, without biases and norm of patches': {
    arch: 'swin_transformer',
    spec: {
      DIM_EMBED: 8,
      DEPTHS: [2, 1, 1],
      NUM_HEADS: [1, 2, 4],
      WINDOW_SIZE: 4,
      USE_APE: true,
      PATCH_NORM: false,
      QKV_BIAS: false,
      MLP_RATIO: 2.5,
      DROP_RATE: 0.1,
      ATTN_DROP_RATE: 0.1,
    },
    imgSize: 64,
  },
  'CvT with relative positions, masks, a deep stem and large windows': {
    arch: 'cvt',
    spec: {
      DIM_EMBED: [4, 12, 24, 48],
      DEPTH: [1, 2, 1, 1],
      WINDOW_SIZE: [14, 14, 14, 7],
      REL_POS_EMBED: true,
      SHIFT: [true, true, true, true],
      RES_STEM: true,
    },
  },
  'CvT of two stages with other kernels and without biases': {
    arch: 'cvt',
    spec: {
      NUM_STAGES: 2,
      DIM_EMBED: [6, 12],
      NUM_HEADS: [2, 3],
      DEPTH: [1, 1],
      PATCH_SIZE: [3, 5],
      PATCH_STRIDE: [3, 2],
      PATCH_PADDING: [0, 2],
      WINDOW_SIZE: [5, 4],
      SHIFT: [false, false],
      MLP_RATIO: [2, 1.5],
      QKV_BIAS: [false, false],
      KERNEL_QKV: [1, 5],
      PADDING_QKV: [0, 2],
      INIT: 'xavier',
    },
  },
  'ViL with two global tokens of their own weights, an exact reach and ECA': {
    arch: 'vil',
    spec: {
      MSVIT: {
        ARCH: 'l1,h2,d8,n1,g2,p4,f3,a0_l2,h2,d16,n1,g1,f2,a0_l3,h2,d32,n1,g3,f2_l4,h4,d64,n1,s0,g0',
        SHARE_W: false,
        SW_EXACT: 1,
        WITH_SE: 'ECA',
        SE_MLP_RATIO: 0.25,
      },
    },
    imgSize: 64,
  },
  'ViL on a ring with pooled keys, SE, dropout and means, its own chunks only': {
    arch: 'vision_longformer',
    spec: {
      AVG_POOL: true,
      DROP: 0.1,
      NORM_EMBED: false,
      MSVIT: {
        ARCH: 'l1,h2,d8,n1,g1,p4,f3,a0,r1_l2,h2,d16,n1,g2,f2,a0,r1_l3,h2,d32,n1,g1,f2_l4,h4,d64,n1,g0,f2',
        SW_EXACT: -1,
        MODE: -1,
        POOL_METHOD: 'mean',
        WITH_SE: 'SE',
        SE_MLP_RATIO: 0.25,
        SE_MLP_BALANCE: true,
      },
    },
    imgSize: 64,
  },
  'plain transformer with small patches': {
    arch: 'vit',
    spec: { EMBED_DIM: 12, DEPTH: 2, NUM_HEADS: 2, PATCH_SIZE: 8, DROP_RATE: 0.1, ATTN_DROP_RATE: 0.1 },
    imgSize: 48,
  },
};

/** Rows and columns that the family's arithmetic gives, where this file knows it. */
export function gridOf(
  { arch, spec = {} }: BackboneRequest,
  height: number,
  width: number,
): number[] | undefined {
  const side = sideOf(arch, spec);
  return side && [side(height), side(width)];
}

function sideOf(
  arch: string,
  spec: Readonly<Record<string, unknown>>,
): ((side: number) => number) | undefined {
  if (/^(?:vit|deit)/.test(arch)) return (side) => Math.floor(side / Number(spec.PATCH_SIZE ?? 16));
  if (arch.startsWith('resnet')) return (side) => Math.ceil(side / 32);
  if (arch.startsWith('swin')) {
    const stages = (spec.DEPTHS as number[] | undefined)?.length ?? 4;
    const patches = (side: number) => Math.floor(side / Number(spec.PATCH_SIZE ?? 4));
    return (side) => Math.ceil(patches(side) / 2 ** (stages - 1));
  }
  if (/vil|longformer/.test(arch)) return (side) => Math.floor(side / 32);
  if (/cvt/.test(arch)) {
    const kernels = (spec.PATCH_SIZE as number[] | undefined) ?? [7, 3, 3, 3];
    const strides = (spec.PATCH_STRIDE as number[] | undefined) ?? [4, 2, 2, 2];
    const paddings = (spec.PATCH_PADDING as number[] | undefined) ?? [2, 1, 1, 1];
    return (side) =>
      kernels.reduce(
        (left, kernel, i) =>
          i === 0 && spec.RES_STEM === true
            ? Math.ceil(left / 4)
            : Math.floor((left + 2 * paddings[i] - kernel) / strides[i]) + 1,
        side,
      );
  }
  return undefined;
}
