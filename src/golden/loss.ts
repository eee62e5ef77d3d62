/** Golden kind `loss`: the losses over successive calls, with gradients and centres. */

import { z } from 'zod';
import { type CropGroup, type MultiCropOutput, ViewLoss, ViewRegionLoss } from '../ssl/index.js';
import { scope, type Tensor } from '../torch/index.js';
import { type Check, compareTensors, type GoldenCase, placed, tensorsOf } from './case.js';

const configSchema = z.looseObject({
  loss: z.enum(['DINOLoss', 'DDINOLoss']),
  out_dim: z.number(),
  ncrops: z.number(),
  warmup_teacher_temp: z.number(),
  teacher_temp: z.number(),
  warmup_teacher_temp_epochs: z.number(),
  nepochs: z.number(),
  student_temp: z.number(),
  center_momentum: z.number(),
  epochs: z.array(z.number()),
  mixup: z.boolean(),
  s_npatch: z.array(z.number()).optional(),
  t_npatch: z.array(z.number()).optional(),
});

const compareSchema = z.record(z.string(), z.object({ atol: z.number() }));

export function* runLoss(golden: GoldenCase, folder: string): Generator<Check> {
  const config = configSchema.parse(golden.config);
  const tolerances = compareSchema.parse(golden.compare);
  const stored = tensorsOf(golden, folder);
  const options = {
    outDim: config.out_dim,
    warmupTeacherTemp: config.warmup_teacher_temp,
    teacherTemp: config.teacher_temp,
    warmupTeacherTempEpochs: config.warmup_teacher_temp_epochs,
    nepochs: config.nepochs,
    studentTemp: config.student_temp,
    centerMomentum: config.center_momentum,
  };
  const loss = config.loss === 'DDINOLoss' ? new ViewRegionLoss(options) : new ViewLoss(options);
  loss.to({ device: golden.device });
  const inputs = placed(stored, golden.device);
  for (const [step, epoch] of config.epochs.entries())
    yield* scope(() => {
      const output = (side: 's' | 't', groups: CropGroup[]): MultiCropOutput => {
        const part = (name: string) => inputs.get(`step${step}.${side}_${name}`) as Tensor;
        const dense = groups[0].regions > 0 ? { region: part('region'), features: part('fea') } : undefined;
        return { cls: part('cls'), groups, ...(dense && { dense }) };
      };
      // The original knows two sizes of crops: the two global ones and all others.
      const [globalRegions = 0, localRegions = 0] = config.s_npatch ?? [];
      const local = { views: config.ncrops - 2, regions: localRegions };
      const global = { views: 2, regions: globalRegions };
      const student = output('s', local.views > 0 ? [global, local] : [global]);
      const teacher = output('t', [{ views: 2, regions: config.t_npatch?.[0] ?? 0 }]);
      // With both tasks the original takes mixing targets and leaves them unread.
      const isMixed = config.mixup === true && config.loss === 'DINOLoss';
      const mixing = isMixed
        ? Array.from({ length: config.ncrops }, (_, view) => ({
            targets: inputs.get(`step${step}.target.${view}`) as Tensor,
            smoothing: 0,
          }))
        : undefined;
      const result = loss.forward(student, teacher, epoch, mixing);
      loss.updateCenters();
      const mine: Record<string, Tensor> = {
        loss: result.loss,
        grad_s_cls: result.gradients[0],
        center: loss.center,
      };
      if (loss instanceof ViewRegionLoss) {
        mine.grad_s_region = result.gradients[1];
        mine.center_grid = loss.centerGrid;
      }
      return Object.entries(mine).map(([name, value]) => {
        const full = `step${step}.${name}`;
        return compareTensors(full, value, stored.get(full), tolerances[full]?.atol ?? 0);
      });
    });
}
