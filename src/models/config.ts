/** The MODEL.SPEC sections of experiment files, under the original's field names. */

import { z } from 'zod';

const size = () => z.number().int().positive();
const rate = () => z.number().min(0).max(1);
const sizes = () => z.array(size()).min(1);

/** MODEL.SPEC of a Swin Transformer. */
export const swinSpec = z
  .strictObject({
    PATCH_SIZE: size().default(4),
    DIM_EMBED: size().default(96),
    DEPTHS: sizes().default([2, 2, 6, 2]),
    NUM_HEADS: sizes().default([3, 6, 12, 24]),
    WINDOW_SIZE: size().default(7),
    MLP_RATIO: z.number().positive().default(4),
    QKV_BIAS: z.boolean().default(true),
    DROP_RATE: rate().default(0),
    ATTN_DROP_RATE: rate().default(0),
    DROP_PATH_RATE: rate().default(0.1),
    USE_APE: z.boolean().default(false),
    PATCH_NORM: z.boolean().default(true),
  })
  .superRefine((spec, context) => {
    const { DEPTHS: depths, NUM_HEADS: heads, DIM_EMBED: dim } = spec;
    if (depths.length !== heads.length) {
      context.addIssue({
        code: 'custom',
        path: ['NUM_HEADS'],
        message: `expected ${depths.length} numbers, one for each stage of DEPTHS, received ${heads.length}`,
      });
      return;
    }
    for (const [stage, count] of heads.entries())
      if ((dim * 2 ** stage) % count !== 0)
        context.addIssue({
          code: 'custom',
          path: ['NUM_HEADS', stage],
          message: `stage ${stage + 1} is ${dim * 2 ** stage} wide (DIM_EMBED ${dim}), which ${count} heads do not divide`,
        });
  });

export type SwinSpec = z.output<typeof swinSpec>;
