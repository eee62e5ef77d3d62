/** Golden kind `aug_rrc`: are our random boxes drawn from the same distribution as the original's? */

import { z } from 'zod';
import { type Box, fallbackBox, RandomStream, randomResizedCrop } from '../data/index.js';
import type { Check, GoldenCase } from './case.js';

export const statistics = z.object({
  mean: z.number(),
  var: z.number(),
  q: z.record(z.string(), z.number()),
});
const range = z.tuple([z.number(), z.number()]);
const schema = z.looseObject({
  config: z.looseObject({ ratio: range }),
  cases: z.array(
    z.looseObject({
      image: z.tuple([z.number(), z.number()]),
      scale: range,
      n: z.number(),
      area: statistics.nullable(),
      log_ratio: statistics.nullable(),
      top_frac: statistics.nullable(),
      left_frac: statistics.nullable(),
      fallback_box: z.tuple([z.number(), z.number(), z.number(), z.number()]),
      fallback_share: z.number(),
    }),
  ),
  compare: z.looseObject({
    var: z.object({ rtol: z.number() }),
    quantile: z.object({ atol: z.number() }),
    fallback_share: z.object({ atol: z.number() }),
  }),
});

export type Statistics = z.output<typeof statistics>;

/** Standard errors that the means of two samples may lie apart. */
const MEAN_ERRORS = 6;
/** Standard errors of a share that a quantile may be off by: where a distribution has steps, a value may jump. */
const QUANTILE_ERRORS = 5;
/** Rounding of sums over samples that are all alike. */
const ROUNDING = 1e-9;

export function* runAugRrc(golden: GoldenCase): Generator<Check> {
  const { config, cases, compare } = schema.parse(golden);
  for (const [number, entry] of cases.entries()) {
    const [width, height] = entry.image;
    const name = (part: string) => `${number}: ${width}x${height} ${entry.scale.join('..')} ${part}`;
    const fallback = asRow(fallbackBox(height, width, config.ratio));
    const off = Math.max(...fallback.map((value, i) => Math.abs(value - entry.fallback_box[i])));
    yield { name: name('fallback_box'), worst: off, tolerance: 0, ok: off === 0, detail: fallback.join() };

    const samples = { area: [], log_ratio: [], top_frac: [], left_frac: [] } as Record<Part, number[]>;
    const random = new RandomStream();
    let fallbacks = 0;
    for (let i = 0; i < entry.n; i++) {
      const box = randomResizedCrop(random.key(0, number, i, 1), height, width, entry.scale, config.ratio);
      samples.area.push((box.width * box.height) / (width * height));
      samples.log_ratio.push(Math.log(box.width / box.height));
      // A box as tall as the picture has no choice of its place.
      if (box.height < height) samples.top_frac.push(box.top / (height - box.height));
      if (box.width < width) samples.left_frac.push(box.left / (width - box.width));
      if (asRow(box).every((value, k) => value === fallback[k])) fallbacks++;
    }
    yield near(
      name('fallback_share'),
      fallbacks / entry.n,
      entry.fallback_share,
      compare.fallback_share.atol,
    );
    for (const part of PARTS) {
      const expected = entry[part];
      const values = samples[part].sort((a, b) => a - b);
      if (expected === null) yield near(name(`${part} without a choice`), values.length, 0, 0);
      else yield* compareStatistics(name(part), values, expected, entry.n, compare);
    }
  }
}

const PARTS = ['area', 'log_ratio', 'top_frac', 'left_frac'] as const;
type Part = (typeof PARTS)[number];

/** `values` sorted; `n` is the size of the stored sample. Variances are compared where there is a tolerance. */
export function* compareStatistics(
  name: string,
  values: readonly number[],
  expected: Statistics,
  n: number,
  compare: { var?: { rtol: number } | undefined; quantile: { atol: number } },
): Generator<Check> {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  const error = MEAN_ERRORS * Math.sqrt(expected.var * (1 / n + 1 / values.length));
  yield near(`${name} mean`, mean, expected.mean, error + ROUNDING);
  if (compare.var !== undefined)
    yield near(`${name} var`, variance, expected.var, compare.var.rtol * expected.var + ROUNDING);
  for (const [level, value] of Object.entries(expected.q)) {
    const share = Number(level);
    const slack = QUANTILE_ERRORS * Math.sqrt(share * (1 - share) * (1 / n + 1 / values.length));
    const low = quantile(values, Math.max(0, share - slack));
    const high = quantile(values, Math.min(1, share + slack));
    const outside = Math.max(low - value, value - high, 0);
    const { atol } = compare.quantile;
    yield { name: `${name} q${level}`, worst: outside, tolerance: atol, ok: outside <= atol };
  }
}

function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

export function near(name: string, mine: number, expected: number, tolerance: number): Check {
  const worst = Math.abs(mine - expected);
  return { name, worst, tolerance, ok: worst <= tolerance };
}

function asRow({ top, left, height, width }: Box): readonly number[] {
  return [top, left, height, width];
}
