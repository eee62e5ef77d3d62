/** MODEL.SPEC of a convolutional vision transformer, under the original's field names. */

import { z } from 'zod';

const whole = () => z.number().int();
const perStage = <Item extends z.ZodType>(item: Item) => z.array(item).min(1);
const positives = () => perStage(whole().positive());
const naturals = () => perStage(whole().min(0));
const flags = () => perStage(z.boolean());

/** Fields that hold one value for each stage. */
const PER_STAGE = [
  'SHIFT',
  'PATCH_SIZE',
  'PATCH_STRIDE',
  'PATCH_PADDING',
  'WINDOW_SIZE',
  'DIM_EMBED',
  'NUM_HEADS',
  'DEPTH',
  'MLP_RATIO',
  'QKV_BIAS',
  'KERNEL_QKV',
  'PADDING_QKV',
] as const;

/** The defaults are those of the original's tiny network, s1. */
export const cvtSpec = z
  .strictObject({
    INIT: z.enum(['trunc_norm', 'xavier']).default('trunc_norm'),
    NUM_STAGES: whole().positive().default(4),
    REL_POS_EMBED: z.boolean().default(false),
    RES_STEM: z.boolean().default(false),
    SHIFT: flags().default([false, false, false, false]),
    DROP_PATH_RATE: z.number().min(0).max(1).default(0.1),
    PATCH_SIZE: positives().default([7, 3, 3, 3]),
    PATCH_STRIDE: positives().default([4, 2, 2, 2]),
    PATCH_PADDING: naturals().default([2, 1, 1, 1]),
    WINDOW_SIZE: positives().default([7, 7, 7, 7]),
    DIM_EMBED: positives().default([64, 192, 384, 768]),
    NUM_HEADS: positives().default([1, 3, 6, 12]),
    DEPTH: positives().default([2, 2, 6, 2]),
    MLP_RATIO: perStage(z.number().positive()).default([4, 4, 4, 4]),
    QKV_BIAS: flags().default([true, true, true, true]),
    KERNEL_QKV: positives().default([3, 3, 3, 3]),
    PADDING_QKV: naturals().default([1, 1, 1, 1]),
  })
  .superRefine((spec, context) => {
    const complain = (path: (string | number)[], message: string) =>
      context.addIssue({ code: 'custom', path, message });
    for (const field of PER_STAGE)
      if (spec[field].length < spec.NUM_STAGES) {
        complain(
          [field],
          `expected ${spec.NUM_STAGES} values, one for each stage, received ${spec[field].length}`,
        );
        return;
      }
    for (let stage = 0; stage < spec.NUM_STAGES; stage++) {
      const [dim, heads] = [spec.DIM_EMBED[stage], spec.NUM_HEADS[stage]];
      if (dim % heads !== 0)
        complain(
          ['NUM_HEADS', stage],
          `stage ${stage + 1} is ${dim} wide, which ${heads} heads do not divide`,
        );
      const [kernel, padding] = [spec.KERNEL_QKV[stage], spec.PADDING_QKV[stage]];
      if (kernel !== 2 * padding + 1)
        complain(
          ['PADDING_QKV', stage],
          `in stage ${stage + 1} a kernel of ${kernel} keeps the size of the map with a padding of ` +
            `${(kernel - 1) / 2}, not ${padding}`,
        );
    }
  });

export type CvtSpec = z.output<typeof cvtSpec>;
