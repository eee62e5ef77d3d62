/** The names of convolutional vision transformers, and how a spec becomes one. */

import { type Family, parsedSpec, type RegistryEntry } from '../request.js';
import { ConvolutionalTransformer, type CvtOptions } from './cvt.js';
import { type CvtSpec, cvtSpec } from './cvt-spec.js';

/** s3 of the original: narrower and deeper than the tiny one. */
const SMALL: Partial<CvtSpec> = {
  DROP_PATH_RATE: 0.2,
  DIM_EMBED: [64, 128, 256, 512],
  NUM_HEADS: [2, 4, 8, 16],
  DEPTH: [2, 2, 10, 4],
};

const EPS = 1e-5;

/** What a spec says, in the words of the constructor. */
export function cvtOptions(spec: CvtSpec, dropPathRate = spec.DROP_PATH_RATE): CvtOptions {
  const blocks = spec.DEPTH.reduce((a, b) => a + b, 0);
  return {
    stages: Array.from({ length: spec.NUM_STAGES }, (_, i) => ({
      dim: spec.DIM_EMBED[i],
      depth: spec.DEPTH[i],
      numHeads: spec.NUM_HEADS[i],
      mlpRatio: spec.MLP_RATIO[i],
      qkvBias: spec.QKV_BIAS[i],
      patchSize: spec.PATCH_SIZE[i],
      patchStride: spec.PATCH_STRIDE[i],
      patchPadding: spec.PATCH_PADDING[i],
      kernelQkv: spec.KERNEL_QKV[i],
      paddingQkv: spec.PADDING_QKV[i],
      windowSize: spec.WINDOW_SIZE[i],
      shift: spec.SHIFT[i],
    })),
    relPosEmbed: spec.REL_POS_EMBED,
    deepStem: spec.RES_STEM,
    // The rate grows over all blocks of the spec, also where fewer stages are built.
    dropPathRates: Array.from({ length: blocks }, (_, i) =>
      blocks > 1 ? (dropPathRate * i) / (blocks - 1) : 0,
    ),
    normEps: EPS,
    init: spec.INIT,
  };
}

function entry(sizes: Partial<CvtSpec>): RegistryEntry {
  const heads = sizes.NUM_HEADS ?? [1, 3, 6, 12];
  return {
    build({ arch, spec, dropPathRate }) {
      const known = parsedSpec(cvtSpec, arch, { ...sizes, ...spec });
      return new ConvolutionalTransformer(cvtOptions(known, dropPathRate));
    },
    miniature: { spec: { DIM_EMBED: heads.map((count) => 4 * count), DEPTH: [1, 1, 2, 1] } },
  };
}

/** The original's files say `cvt_v4_transformer`, and `cls_cvt_v4` where they are older than its registry. */
export const cvtFamily: Family = {
  cvt_tiny: entry({}),
  cvt_small: entry(SMALL),
  cvt: entry({}),
  cvt_v4_transformer: entry({}),
  cls_cvt_v4: entry({}),
};
