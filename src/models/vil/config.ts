/** MODEL.SPEC of a Vision Longformer, under the original's field names. */

import { z } from 'zod';
import { ArchError, parseArch } from './arch.js';
import { ATTENTION_TYPES, type VilOptions } from './options.js';

const rate = () => z.number().min(0).max(1);
/** YAML's `None` is a text; an empty value is null. */
const choice = <const Names extends readonly string[]>(names: Names) =>
  z
    .enum(['None', ...names])
    .nullable()
    .default('None');

const arch = z.string().transform((text, context) => {
  try {
    return parseArch(text);
  } catch (error) {
    if (!(error instanceof ArchError)) throw error;
    context.addIssue({ code: 'custom', message: error.message });
    return z.NEVER;
  }
});

const msvit = z
  .strictObject({
    ARCH: arch,
    /** read by nothing: the original's layer norms have 1e-6 whatever stands here, and so have ours */
    LN_EPS: z.union([z.number(), z.string()]).optional(),
    SHARE_W: z.boolean().default(true),
    ATTN_TYPE: z.enum(ATTENTION_TYPES).default('longformerhand'),
    SHARE_KV: z.boolean().default(true),
    ONLY_GLOBAL: z.boolean().default(false),
    SW_EXACT: z.union([z.literal(-1), z.literal(0), z.literal(1)]).default(0),
    MODE: z.number().int().min(-1).max(8).default(0),
    VIL_MODE_SWITCH: rate().default(1),
    POOL_METHOD: choice(['mean', 'fc']),
    WITH_SE: choice(['SE', 'ECA']),
    SE_MLP_RATIO: z.number().positive().max(1).default(0.0625),
    SE_MLP_BALANCE: z.boolean().default(false),
  })
  .superRefine((spec, context) => {
    const complain = (field: string, message: string) =>
      context.addIssue({ code: 'custom', path: [field], message });
    for (const [i, stage] of spec.ARCH.entries()) {
      if (spec.WITH_SE === 'SE' && Math.trunc(stage.dim * spec.SE_MLP_RATIO) === 0)
        complain(
          'SE_MLP_RATIO',
          `stage ${i + 1} of ARCH is ${stage.dim} wide, of which ${spec.SE_MLP_RATIO} is less than one`,
        );
      if (!spec.ATTN_TYPE.startsWith('longformer')) continue;
      const sparse = spec.ARCH.slice(0, i + 1).every((before) => before.sparse);
      if (!sparse) continue;
      if (spec.ONLY_GLOBAL && stage.globals === 0)
        complain(
          'ONLY_GLOBAL',
          `stage ${i + 1} of ARCH has no global tokens (g0), so nothing would be attended to`,
        );
      if (stage.pooled && spec.POOL_METHOD !== 'mean' && spec.POOL_METHOD !== 'fc')
        complain('POOL_METHOD', `stage ${i + 1} of ARCH pools its keys (r1): expected 'mean' or 'fc'`);
    }
  });

/** MODEL.SPEC of a Vision Longformer. */
export const vilSpec = z.strictObject({
  /** the mean over all tokens instead of the first global token */
  AVG_POOL: z.boolean().default(false),
  DROP: rate().default(0),
  DROP_PATH: rate().default(0.1),
  NORM_EMBED: z.boolean().default(true),
  MSVIT: msvit,
});

export type VilSpec = z.output<typeof vilSpec>;

/** What a spec says, in the words of the constructor. */
export function vilOptions(spec: VilSpec, imgSize: number): VilOptions {
  const { MSVIT: own } = spec;
  const named = (text: string | null) => (text === 'None' ? null : text);
  return {
    stages: own.ARCH,
    imgSize,
    avgPool: spec.AVG_POOL,
    dropRate: spec.DROP,
    dropPathRate: spec.DROP_PATH,
    normEmbed: spec.NORM_EMBED,
    qkvBias: true,
    normEps: 1e-6,
    attentionType: own.ATTN_TYPE,
    shareWeights: own.SHARE_W,
    shareKv: own.SHARE_KV,
    onlyGlobal: own.ONLY_GLOBAL,
    exact: own.SW_EXACT,
    mode: own.MODE,
    modeSwitch: own.VIL_MODE_SWITCH,
    poolMethod: named(own.POOL_METHOD) as VilOptions['poolMethod'],
    gate: named(own.WITH_SE) as VilOptions['gate'],
    gateRatio: own.SE_MLP_RATIO,
    // Any text counts as a gate there, 'None' too; checkpoints have the widths that follow.
    mlpRatio: 4 - (own.SE_MLP_BALANCE && own.WITH_SE !== null ? own.SE_MLP_RATIO : 0),
  };
}
