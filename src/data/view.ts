/** One picture as evaluation shows it to a network. */

import type { EvaluationPlan } from './crop-plan.js';
import { evaluationJob } from './geometry.js';
import { JOB_FIELDS, nativeImage, type Picture, writeJob } from './native-image.js';

/** Resized and cut out of the middle: a square of `plan.size` pixels. */
export function evaluationView({ data, width, height }: Picture, plan: EvaluationPlan): Picture {
  const { size } = plan;
  const target = new Uint8Array(size * size * 3);
  const jobs = new Float64Array(JOB_FIELDS);
  writeJob(jobs, 0, evaluationJob(height, width, plan, 0));
  nativeImage.imageResample(data, width, height, jobs, target);
  return { data: target, width: size, height: size };
}
