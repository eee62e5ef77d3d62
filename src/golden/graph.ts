/** Golden kind `graph`: one training step of a micro network, outputs and all gradients. */

import { z } from 'zod';
import { type MultiCropOutput, ViewLoss, ViewRegionLoss } from '../ssl/index.js';
import { backward, cat, noGrad, scope, type Tensor, tensor } from '../torch/index.js';
import { type Check, compareTensors, failed, type GoldenCase, jsonOf, tensorsOf } from './case.js';
import { detinput, fillDeterministic } from './det.js';
import { buildNetwork, networkSchema } from './network.js';

const schema = z.looseObject({
  config: networkSchema.extend({
    loss: z.looseObject({
      warmup_teacher_temp: z.number(),
      teacher_temp: z.number(),
      warmup_teacher_temp_epochs: z.number(),
      nepochs: z.number(),
      epoch: z.number(),
    }),
  }),
  salt: z.string(),
  teacher_salt: z.string(),
  inputs: z.record(z.string(), z.tuple([z.string(), z.array(z.number())])),
  sampling: z.record(z.string(), z.number()),
});

type Tolerances = Record<string, { atol: number }>;

export function* runGraph(golden: GoldenCase, folder: string): Generator<Check> {
  const { config, salt, teacher_salt, inputs, sampling } = schema.parse(golden);
  const tolerances = jsonOf<Tolerances>(golden, folder, '.tol.json');
  const stored = tensorsOf(golden, folder);
  const student = buildNetwork(config);
  const teacher = buildNetwork(config);
  fillDeterministic(student, salt);
  fillDeterministic(teacher, teacher_salt);
  const options = {
    outDim: config.out_dim,
    warmupTeacherTemp: config.loss.warmup_teacher_temp,
    teacherTemp: config.loss.teacher_temp,
    warmupTeacherTempEpochs: config.loss.warmup_teacher_temp_epochs,
    nepochs: config.loss.nepochs,
  };
  const loss = config.use_dense_prediction ? new ViewRegionLoss(options) : new ViewLoss(options);
  noGrad(() =>
    scope(() => {
      for (const [name, center] of loss.namedBuffers())
        center.copy_(detinput(salt + name, [1, config.out_dim], -0.1, 0.1));
    }),
  );

  const { device } = golden;
  for (const module of [student, teacher, loss]) module.to({ device });

  yield* scope(() => {
    const mine = new Map<string, Tensor>();
    const crops = Object.values(inputs).map(([name, shape]) => detinput(name, shape).to({ device }));
    const batch = crops[0].shape[0];
    const groups = bySize(crops);
    const target = noGrad(() => teacher.forward(groups.slice(0, 1), batch));
    const output = student.forward(groups, batch);
    const result = loss.forward(output, target, config.loss.epoch);
    backward(result.roots, result.gradients);
    loss.updateCenters();

    mine.set('loss', result.loss);
    for (const [name, center] of loss.namedBuffers()) mine.set(name, center);
    for (const [side, out] of Object.entries({ student: output, teacher: target }))
      for (const [name, value] of outputs(out)) mine.set(`${side}.${name}`, value);
    for (const [side, network] of Object.entries({ student, teacher }))
      for (const [name, buffer] of network.namedBuffers()) mine.set(`${side}.${name}`, buffer);
    for (const [name, parameter] of student.namedParameters()) {
      const { grad } = parameter;
      if (grad === null) continue;
      mine.set(`grad.${name}`, grad);
      mine.set(`gradl2.${name}`, grad.to({ dtype: 'float64' }).normAll(2));
      const step = sampling[name];
      if (step !== undefined) mine.set(`gradsample.${name}`, grad.reshape([-1]).slice(0, 0, null, step));
    }
    return [...stored].map(([name, expected]) => {
      const value = mine.get(name);
      if (value === undefined) return failed(name, 'we compute no such tensor');
      return compareTensors(name, value.reshape([...expected.shape]), expected, tolerances[name]?.atol ?? 0);
    });
  });
}

/** Crops of one size follow each other: one tensor for each size. */
function bySize(crops: readonly Tensor[]): Tensor[] {
  const groups: Tensor[][] = [];
  for (const crop of crops) {
    const last = groups[groups.length - 1];
    if (last !== undefined && last[0].shape[3] === crop.shape[3]) last.push(crop);
    else groups.push([crop]);
  }
  return groups.map((group) => cat(group, 0));
}

/** Stored thinned out: every 4th row of the region logits, every 2nd of the features. */
function outputs({ cls, dense, groups }: MultiCropOutput): [string, Tensor][] {
  const result: [string, Tensor][] = [['cls', cls]];
  if (dense !== undefined) {
    result.push(['region', dense.region.slice(0, 0, null, 4)]);
    result.push(['fea', dense.features.slice(0, 0, null, 2)]);
    const counts = BigInt64Array.from(groups, ({ regions }) => BigInt(regions));
    result.push(['npatch', tensor(counts)]);
  }
  return result;
}
