/** Golden kind `schedule`: learning rates, weight decay, momentum and temperatures in float64. */

import { z } from 'zod';
import { cosineAnnealing, cosineSchedule } from '../optim/index.js';
import { teacherTempSchedule } from '../ssl/index.js';
import { type Check, compareNumbers, failed, type GoldenCase, tensorsOf } from './case.js';

const functions = z.discriminatedUnion('function', [
  z.looseObject({
    function: z.literal('cosine_scheduler'),
    base_value: z.number(),
    final_value: z.number(),
    epochs: z.number(),
    niter_per_ep: z.number(),
    warmup_epochs: z.number().default(0),
    start_warmup_value: z.number().default(0),
  }),
  z.looseObject({
    function: z.literal('teacher_temp_schedule'),
    warmup_teacher_temp: z.number(),
    teacher_temp: z.number(),
    warmup_teacher_temp_epochs: z.number(),
    nepochs: z.number(),
  }),
  z.looseObject({
    function: z.literal('linear_lr'),
    lr: z.number(),
    batch_times_world: z.number(),
    epochs: z.number(),
  }),
]);

const compareSchema = z.object({
  value: z.object({ atol: z.number().default(0), rtol: z.number().optional() }),
});

function values(config: z.output<typeof functions>): Float64Array {
  switch (config.function) {
    case 'cosine_scheduler':
      return cosineSchedule({
        base: config.base_value,
        final: config.final_value,
        epochs: config.epochs,
        iterationsPerEpoch: config.niter_per_ep,
        warmupEpochs: config.warmup_epochs,
        startWarmup: config.start_warmup_value,
      });
    case 'teacher_temp_schedule':
      return teacherTempSchedule({
        warmupTeacherTemp: config.warmup_teacher_temp,
        teacherTemp: config.teacher_temp,
        warmupTeacherTempEpochs: config.warmup_teacher_temp_epochs,
        nepochs: config.nepochs,
      });
    case 'linear_lr':
      return cosineAnnealing((config.lr * config.batch_times_world) / 256, config.epochs);
  }
}

export function* runSchedule(golden: GoldenCase, folder: string): Generator<Check> {
  const { value: tolerance } = compareSchema.parse(golden.compare);
  const stored = tensorsOf(golden, folder);
  const mine = values(functions.parse(golden.config));
  const expected = stored.get('value')?.toArray() as Float64Array;
  const index = stored.get('index')?.toArray() as BigInt64Array | undefined;
  if (index === undefined && mine.length !== expected.length) {
    yield failed('value', `${mine.length} values, expected ${expected.length}`);
    return;
  }
  const sampled = index === undefined ? mine : Float64Array.from(index, (i) => mine[Number(i)]);
  yield compareNumbers('value', sampled, expected, tolerance.atol, tolerance.rtol ?? 0);
}
