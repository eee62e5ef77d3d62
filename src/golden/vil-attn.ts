/** Golden kind `vil_attn`: sliding-chunk attention alone, its outputs and gradients in every neighbour mode. */

import { z } from 'zod';
import { LongformerAttention } from '../models/index.js';
import { scope } from '../torch/index.js';
import { compareState, type StateRow } from './arch.js';
import { type Check, compareTensors, failed, type GoldenCase, tensorsOf, toleranceOf } from './case.js';
import { detinput, fillDeterministic } from './det.js';

const input = z.tuple([z.string(), z.array(z.number())]);

const schema = z.looseObject({
  config: z.looseObject({
    dim: z.number(),
    num_heads: z.number(),
    qkv_bias: z.boolean(),
    w: z.number(),
    nglo: z.number(),
    sharew: z.boolean(),
    only_glo: z.boolean().default(false),
    rpe: z.boolean(),
    exact: z.union([z.literal(-1), z.literal(0), z.literal(1)]),
    nx: z.number(),
    ny: z.number(),
    modes: z.array(z.number()),
  }),
  salt: z.string(),
  inputs: z.object({ x: input, gy: input }),
  state: z.array(z.custom<StateRow>()),
  compare: z.record(z.string(), z.object({ atol: z.number().optional() })),
});

export function* runVilAttn(golden: GoldenCase, folder: string): Generator<Check> {
  const { config, salt, inputs, state, compare } = schema.parse(golden);
  const stored = tensorsOf(golden, folder);
  const attention = new LongformerAttention({
    dim: config.dim,
    numHeads: config.num_heads,
    qkvBias: config.qkv_bias,
    features: config.w,
    globals: config.nglo,
    shareWeights: config.sharew,
    shareKv: false,
    onlyGlobal: config.only_glo,
    relative: config.rpe,
    exact: config.exact,
    grid: [config.nx, config.ny],
    mode: 0,
    dropRate: 0,
    pooled: false,
    poolMethod: null,
  });
  yield compareState(attention, state);
  fillDeterministic(attention, salt);
  const { device } = golden;
  attention.to({ device });
  const compared = new Set<string>();
  for (const mode of config.modes)
    yield* scope(() => {
      attention.zeroGrad();
      const x = detinput(...inputs.x).to({ device });
      x.requiresGrad = true;
      const y = attention.train().forward(x, [config.nx, config.ny], undefined, mode);
      y.backward({ gradient: detinput(...inputs.gy).to({ device }) });
      const mine = { y, gx: x.grad, g_table: attention.localRelativePositionBiasTable?.grad ?? null };
      return Object.entries(mine).flatMap(([what, value]) => {
        const name = `mode${mode}.${what}`;
        const expected = stored.get(name);
        if (expected === undefined) return [];
        compared.add(name);
        return value === null
          ? failed(name, 'there is no gradient')
          : compareTensors(name, value, expected, toleranceOf(compare, name)?.atol ?? 0);
      });
    });
  const left = [...stored.keys()].filter((name) => !compared.has(name));
  if (left.length > 0) yield failed('coverage', `not compared: ${left.slice(0, 5).join(', ')}`);
}
