/** Golden kind `aug_erase`: are our erased rectangles and their filling distributed as the original's? */

import { z } from 'zod';
import { type ErasePolicy, type ErasingDraws, erase, eraseBoxes, RandomStream } from '../data/index.js';
import { ones, scope, zeros } from '../torch/index.js';
import type { Check, GoldenCase } from './case.js';
import { compareStatistics, near, statistics } from './random-boxes.js';

const schema = z.looseObject({
  config: z.looseObject({
    min_area: z.number().default(0.02),
    max_area: z.number().default(1 / 3),
    min_aspect: z.number().default(0.3),
    mode: z.enum(['const', 'rand', 'pixel']),
    count: z.number().default(1),
    attempts: z.number().default(10),
  }),
  cases: z.array(
    z.looseObject({
      image_hw: z.tuple([z.number(), z.number()]),
      probability: z.number(),
      n: z.number(),
      hits: z.number(),
      area: statistics,
      log_h_over_w: statistics,
      top_frac: statistics,
      left_frac: statistics,
      pixel_mean: z.number(),
      pixel_var: z.number(),
    }),
  ),
  compare: z.looseObject({
    quantile: z.object({ atol: z.number() }),
    pixel_mean: z.object({ atol: z.number() }),
    pixel_var: z.object({ atol: z.number() }),
  }),
});

const PARTS = ['area', 'log_h_over_w', 'top_frac', 'left_frac'] as const;
type Part = (typeof PARTS)[number];

/** Standard errors by which two shares may differ. */
const SHARE_ERRORS = 5;
/** Crops that are erased in one tensor. */
const BATCH = 256;

export function* runAugErase(golden: GoldenCase): Generator<Check> {
  const { config, cases, compare } = schema.parse(golden);
  for (const [number, entry] of cases.entries()) {
    const [height, width] = entry.image_hw;
    const { n } = entry;
    const name = (part: string) => `${number}: ${width}x${height} ${part}`;
    const policy: ErasePolicy = {
      probability: entry.probability,
      mode: config.mode,
      count: config.count,
      area: [config.min_area, config.max_area],
      aspect: config.min_aspect,
      attempts: config.attempts,
    };
    const samples = { area: [], log_h_over_w: [], top_frac: [], left_frac: [] } as Record<Part, number[]>;
    const sums: Sums = { values: 0, sum: 0, squares: 0 };
    const random = new RandomStream();
    let hits = 0;
    for (let start = 0; start < n; start += BATCH) {
      const rows = Math.min(BATCH, n - start);
      const draws: ErasingDraws = {
        mode: policy.mode,
        count: policy.count,
        boxes: new Int32Array(rows * policy.count * 4),
        keys: new Int32Array(rows),
      };
      for (let row = 0; row < rows; row++) {
        const boxes = eraseBoxes(random.key(0, number, start + row, 1), height, width, policy);
        if (boxes.length > 0) hits++;
        for (const [i, box] of boxes.entries()) {
          samples.area.push((box.height * box.width) / (height * width));
          samples.log_h_over_w.push(Math.log(box.height / box.width));
          samples.top_frac.push(box.top / (height - box.height));
          samples.left_frac.push(box.left / (width - box.width));
          draws.boxes.set([box.top, box.left, box.height, box.width], (row * policy.count + i) * 4);
        }
        draws.keys[row] = random.bits() | 0;
      }
      addFilling(sums, draws, rows, height, width);
    }
    const share = entry.hits / n;
    const error = SHARE_ERRORS * Math.sqrt((share * (1 - share) * 2) / n);
    yield near(name('hits'), hits / n, share, error);
    for (const part of PARTS) {
      const values = samples[part].sort((a, b) => a - b);
      yield* compareStatistics(name(part), values, entry[part], entry.hits, compare);
    }
    const mean = sums.sum / sums.values;
    yield near(name('pixel mean'), mean, entry.pixel_mean, compare.pixel_mean.atol);
    const variance = sums.squares / sums.values - mean * mean;
    yield near(name('pixel variance'), variance, entry.pixel_var, compare.pixel_var.atol);
  }
}

interface Sums {
  values: number;
  sum: number;
  squares: number;
}

/** Erases crops of zeros, which add nothing to the sums, and counts the values that were replaced. */
function addFilling(sums: Sums, draws: ErasingDraws, rows: number, height: number, width: number): void {
  scope(() => {
    const shape = [rows, 3, height, width];
    const x = zeros(shape);
    erase(x, draws);
    const whole = ones(shape);
    erase(whole, { ...draws, mode: 'const' });
    const wide = { dtype: 'float64' } as const;
    sums.values += rows * 3 * height * width - whole.to(wide).sumAll().item();
    sums.sum += x.to(wide).sumAll().item();
    sums.squares += x.square().to(wide).sumAll().item();
  });
}
