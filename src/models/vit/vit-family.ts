/** The names of plain vision transformers, and how a spec becomes one. */

import { z } from 'zod';
import { type Family, parsedSpec, type RegistryEntry } from '../request.js';
import { VisionTransformer } from './vit.js';

const size = () => z.number().int().positive();
const rate = () => z.number().min(0).max(1);

/** MODEL.SPEC of a plain vision transformer. The original builds them without; its files call the fields so. */
export const vitSpec = z
  .strictObject({
    PATCH_SIZE: size().default(16),
    EMBED_DIM: size().default(384),
    DEPTH: size().default(12),
    NUM_HEADS: size().default(6),
    MLP_RATIO: z.number().positive().default(4),
    QKV_BIAS: z.boolean().default(true),
    DROP_RATE: rate().default(0),
    ATTN_DROP_RATE: rate().default(0),
    DROP_PATH_RATE: rate().default(0.1),
  })
  .superRefine(({ EMBED_DIM: dim, NUM_HEADS: heads }, context) => {
    if (dim % heads !== 0)
      context.addIssue({
        code: 'custom',
        path: ['NUM_HEADS'],
        message: `${heads} heads do not divide a width of ${dim} (EMBED_DIM)`,
      });
  });

export type VitSpec = z.output<typeof vitSpec>;

const TINY = { EMBED_DIM: 192, NUM_HEADS: 3 };
const SMALL = { EMBED_DIM: 384, NUM_HEADS: 6 };
const BASE = { EMBED_DIM: 768, NUM_HEADS: 12 };

const EPS = 1e-6;

function entry(sizes: Partial<VitSpec>): RegistryEntry {
  return {
    build({ arch, spec, imgSize = 224, patchSize, dropPathRate }) {
      // A spec that names the patch has the last word.
      const patch = patchSize === undefined ? {} : { PATCH_SIZE: patchSize };
      const known = parsedSpec(vitSpec, arch, { ...sizes, ...patch, ...spec });
      return new VisionTransformer({
        imgSize,
        patchSize: known.PATCH_SIZE,
        embedDim: known.EMBED_DIM,
        depth: known.DEPTH,
        numHeads: known.NUM_HEADS,
        mlpRatio: known.MLP_RATIO,
        qkvBias: known.QKV_BIAS,
        dropRate: known.DROP_RATE,
        attnDropRate: known.ATTN_DROP_RATE,
        dropPathRate: dropPathRate ?? known.DROP_PATH_RATE,
        normEps: EPS,
      });
    },
    miniature: { spec: { EMBED_DIM: 8 * (sizes.NUM_HEADS ?? 6), DEPTH: 4 }, imgSize: 64 },
  };
}

/** The original says `deit_tiny`, `deit_small` and `vit_base`; the others are the same networks' usual names. */
export const vitFamily: Family = {
  deit_tiny: entry(TINY),
  deit_small: entry(SMALL),
  deit_base: entry(BASE),
  vit_tiny: entry(TINY),
  vit_small: entry(SMALL),
  vit_base: entry(BASE),
  // The spec says all.
  vit: entry({}),
};
