/** The names of Swin transformers, and how a spec becomes one. */

import { type SwinSpec, swinSpec } from '../config.js';
import { type Family, parsedSpec, type RegistryEntry } from '../request.js';
import { type SwinOptions, SwinTransformer } from './swin.js';

const SIZES: Readonly<Record<string, Partial<SwinSpec>>> = {
  swin_tiny: { DIM_EMBED: 96, DEPTHS: [2, 2, 6, 2], NUM_HEADS: [3, 6, 12, 24], DROP_PATH_RATE: 0.1 },
  swin_small: { DIM_EMBED: 96, DEPTHS: [2, 2, 18, 2], NUM_HEADS: [3, 6, 12, 24], DROP_PATH_RATE: 0.2 },
  swin_base: { DIM_EMBED: 128, DEPTHS: [2, 2, 18, 2], NUM_HEADS: [4, 8, 16, 32], DROP_PATH_RATE: 0.2 },
  swin_large: { DIM_EMBED: 192, DEPTHS: [2, 2, 18, 2], NUM_HEADS: [6, 12, 24, 48], DROP_PATH_RATE: 0.2 },
  // The spec says all; the original's files name it so.
  swin: {},
  swin_transformer: {},
};

const EPS = 1e-6;

/** What a spec says, in the words of the constructor. */
export function swinOptions(spec: SwinSpec, imgSize: number): SwinOptions {
  return {
    imgSize,
    patchSize: spec.PATCH_SIZE,
    embedDim: spec.DIM_EMBED,
    depths: spec.DEPTHS,
    numHeads: spec.NUM_HEADS,
    windowSize: spec.WINDOW_SIZE,
    mlpRatio: spec.MLP_RATIO,
    qkvBias: spec.QKV_BIAS,
    dropRate: spec.DROP_RATE,
    attnDropRate: spec.ATTN_DROP_RATE,
    dropPathRate: spec.DROP_PATH_RATE,
    ape: spec.USE_APE,
    patchNorm: spec.PATCH_NORM,
    normEps: EPS,
  };
}

function entry(size: Partial<SwinSpec>): RegistryEntry {
  return {
    build({ arch, spec, imgSize = 224, dropPathRate }) {
      const options = swinOptions(parsedSpec(swinSpec, arch, { ...size, ...spec }), imgSize);
      return new SwinTransformer({ ...options, dropPathRate: dropPathRate ?? options.dropPathRate });
    },
    // The narrowest that the heads divide.
    miniature: { spec: { DIM_EMBED: 2 * (size.NUM_HEADS?.[0] ?? 3) } },
  };
}

export const swinFamily: Family = Object.fromEntries(
  Object.entries(SIZES).map(([name, size]) => [name, entry(size)]),
);
