/** Golden kind `arch`: features, block features and attention of a backbone with deterministic weights. */

import { z } from 'zod';
import { type Backbone, buildBackbone } from '../models/index.js';
import type { Module } from '../nn/index.js';
import { inferenceMode, scope, type Tensor } from '../torch/index.js';
import {
  type Check,
  compareNumbers,
  compareTensors,
  failed,
  type GoldenCase,
  jsonOf,
  passed,
  tensorsOf,
  toleranceOf,
} from './case.js';
import { detinput, fillDeterministic } from './det.js';

const configSchema = z.looseObject({
  arch: z.string(),
  spec: z.record(z.string(), z.unknown()).optional(),
});
const inputsSchema = z.record(z.string(), z.tuple([z.string(), z.array(z.number())]));
const compareSchema = z.record(
  z.string(),
  z.object({ atol: z.number().optional(), exact: z.boolean().optional() }),
);

export interface StateRow {
  name: string;
  shape: number[];
  dtype: string;
  kind: 'param' | 'buffer';
  trainable?: boolean;
}

/** How far the input of `small.pooled` is scaled down; the case's `small_input` names it. */
const SMALL = 0.001;

export function* runArch(golden: GoldenCase, folder: string): Generator<Check> {
  const { arch, spec } = configSchema.parse(golden.config);
  const inputs = inputsSchema.parse(golden.inputs);
  const tolerances = compareSchema.parse(golden.compare);
  // deit_tiny_16: the patch is part of the case's name only
  const patchSize = Number(/_(\d+)$/.exec(golden.name)?.[1] ?? 16);
  const backbone = buildBackbone({ arch, ...(spec && { spec }), patchSize, dropPathRate: 0 }).eval();
  yield compareState(backbone, jsonOf<StateRow[]>(golden, folder, '.state.json'));
  fillDeterministic(backbone, String(golden.salt ?? ''));
  const { device } = golden;
  backbone.to({ device });
  const stored = tensorsOf(golden, folder);
  const compared = new Set<string>();

  function* compare(name: string, make: () => Tensor): Generator<Check> {
    const expected = stored.get(name);
    if (expected === undefined) return;
    compared.add(name);
    const tolerance = toleranceOf(tolerances, name);
    yield scope(() => compareTensors(name, make(), expected, tolerance?.atol ?? 0));
  }

  const sizes = Object.entries(inputs);
  for (const [size, [name, shape]] of sizes) {
    const checks = inferenceMode(() =>
      scope(() => {
        const x = detinput(name, shape).to({ device });
        const found: Check[] = [];
        const { pooled, tokens } = backbone.forwardFeatures(x);
        found.push(...compare(`${size}.pooled`, () => pooled));
        found.push(...compare(`${size}.region.ch8`, () => tokens.slice(2, 0, null, 8)));
        found.push(...compare(`${size}.region.mean`, () => tokens.mean([2])));
        found.push(...compare(`${size}.region.l2`, () => tokens.norm(2, [2])));
        const all = backbone.depths.reduce((a, b) => a + b, 0);
        for (const [label, count] of Object.entries({ last1: 1, last4: 4, blocks: all })) {
          found.push(...compare(`${size}.${label}`, () => backbone.blockFeatures(x, count)));
          found.push(
            ...compare(`${size}.${label}.avgpool`, () =>
              backbone.blockFeatures(x, count, { avgpoolPatchTokens: true }),
            ),
          );
        }
        if ([...stored.keys()].some((key) => key.startsWith(`${size}.attn.`)))
          found.push(...compareAttention(backbone, x, size, stored, compare, compared));
        return found;
      }),
    );
    yield* checks;
  }
  const small = Object.values(inputs).find(([name]) => String(golden.small_input).includes(`(${name} `));
  if (small === undefined) return yield failed('small.pooled', 'the case does not say whose input is scaled');
  const [name, shape] = small;
  yield* inferenceMode(() =>
    scope(() => [
      ...compare('small.pooled', () => {
        return backbone.forwardFeatures(detinput(name, shape).to({ device }).mul(Math.fround(SMALL))).pooled;
      }),
    ]),
  );
  const left = [...stored.keys()].filter((key) => !compared.has(key));
  if (left.length > 0) yield failed('coverage', `not compared: ${left.slice(0, 5).join(', ')}`);
}

function compareAttention(
  backbone: Backbone,
  x: Tensor,
  size: string,
  stored: Map<string, Tensor>,
  compare: (name: string, make: () => Tensor) => Generator<Check>,
  compared: Set<string>,
): Check[] {
  const found: Check[] = [];
  for (const { block, probabilities: p } of backbone.attentionMaps(x)) {
    const prefix = `${size}.attn.${block}`;
    const [count, heads, length] = p.sizes(4);
    const step = length <= 49 ? 7 : 28;
    const rows = (window: number, head: number) => () =>
      p.select(0, window).select(0, head).slice(0, 0, null, step);
    found.push(...compare(`${prefix}.first`, rows(0, 0)));
    found.push(...compare(`${prefix}.last`, rows(count - 1, heads - 1)));
    found.push(...compare(`${prefix}.cls`, () => p.select(0, 0).select(1, 0).slice(1, 0, null, 4)));
    found.push(
      ...compare(`${prefix}.entropy`, () => p.mul(p.clampMin(1e-30).log2()).sum([3]).neg().mean([0, 2])),
    );
    const shape = stored.get(`${prefix}.shape`);
    if (shape !== undefined) {
      compared.add(`${prefix}.shape`);
      const expected = Array.from(shape.toArray() as ArrayLike<number | bigint>, Number);
      found.push(compareNumbers(`${prefix}.shape`, p.shape, expected, 0, 0));
    }
  }
  return found;
}

/** Names, shapes, kinds and order of a module's tensors against those of the original. */
export function compareState(module: Module, rows: readonly StateRow[]): Check {
  const parameters = new Set(module.namedParameters().keys());
  const mine = [...module.stateDict()].map(
    ([name, value]) => `${name} ${value.dtype} [${value.shape.join(', ')}] ${value.requiresGrad}`,
  );
  const golden = rows.map(
    ({ name, dtype, shape, trainable }) => `${name} ${dtype} [${shape.join(', ')}] ${trainable ?? false}`,
  );
  const at = golden.findIndex((row, i) => row !== mine[i]);
  if (at >= 0) return failed('state', `entry ${at}: ${mine[at] ?? 'none'}, expected ${golden[at]}`);
  if (mine.length !== golden.length)
    return failed('state', `${mine.length} entries, expected ${golden.length}`);
  const missing = rows.find(({ name, kind }) => kind === 'param' && !parameters.has(name));
  return missing === undefined || 'tied_to' in missing
    ? passed('state', `${rows.length} names and shapes`)
    : failed('state', `${missing.name} is no parameter`);
}
