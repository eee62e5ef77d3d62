/** Golden kind `knn`: accuracies of the weighted vote, within what ties and one picture allow. */

import { z } from 'zod';
import { knnAccuracy } from '../eval/index.js';
import { scope, type Tensor } from '../torch/index.js';
import { type Check, type GoldenCase, tensorsOf } from './case.js';

const percent = z.number();
const schema = z.looseObject({
  config: z.looseObject({ num_classes: z.number() }),
  expected: z.array(
    z.looseObject({
      k: z.number(),
      T: z.number(),
      top1_min: percent,
      top1_max: percent,
      top5_min: percent,
      top5_max: percent,
    }),
  ),
  compare: z.looseObject({
    top1: z.looseObject({ slack_percent: z.number() }),
    top5: z.looseObject({ slack_percent: z.number() }),
  }),
});

export function* runKnn(golden: GoldenCase, folder: string): Generator<Check> {
  const { config, expected, compare } = schema.parse(golden);
  const stored = tensorsOf(golden, folder);
  const side = (name: 'train' | 'test') => ({
    features: stored.get(`${name}_features`) as Tensor,
    labels: stored.get(`${name}_labels`) as Tensor,
  });
  for (const { k, T, top1_min, top1_max, top5_min, top5_max } of expected) {
    const [{ top1, top5 }] = scope(() =>
      knnAccuracy(side('train'), side('test'), {
        ks: [k],
        temperatures: [T],
        numClasses: config.num_classes,
        device: golden.device,
      }),
    );
    yield within(`k${k}.T${T}.top1`, top1, top1_min, top1_max, compare.top1.slack_percent);
    yield within(`k${k}.T${T}.top5`, top5, top5_min, top5_max, compare.top5.slack_percent);
  }
}

function within(name: string, value: number, low: number, high: number, slack: number): Check {
  const worst = Math.max(0, low - value, value - high);
  return { name, worst, tolerance: slack, ok: worst <= slack + 1e-9 };
}
