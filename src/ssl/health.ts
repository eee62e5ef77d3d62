/** Is the network learning? Measures of a batch, and a verdict in words. */

import { alone, type Collectives, gatherRows } from '../dist/index.js';
import { noGrad, scope, type Tensor } from '../torch/index.js';
import { unitLength } from './head.js';
import type { ViewLoss } from './loss.js';
import type { MultiCropOutput } from './multi-crop.js';

export interface Health {
  /** mean entropy of the teacher's answers, in nats; ln(outDim) is no opinion, 0 is certainty */
  teacherEntropy: number;
  /** the same of the student */
  studentEntropy: number;
  /** mean divergence of the student's answer from the teacher's, both for the same global view */
  kl: number;
  /** entropy of the teacher's mean answer: 0 when it says the same of every picture */
  answerSpread: number;
  centerNorm: number;
  /** mean standard deviation over pictures of each dimension of the unit-length features, times √dimensions */
  featureStd: number;
  /** exp of the entropy of the singular values of the centred features (Roy and Vetterli 2007) */
  effectiveRank: number;
}

/** The teacher's global views, and what the student says of the same ones; over the pictures of all ranks. */
export function measureHealth(
  student: MultiCropOutput,
  teacher: MultiCropOutput,
  loss: ViewLoss,
  epoch: number,
  collectives: Collectives = alone,
): Health {
  return noGrad(() =>
    scope(() => {
      const rows = teacher.cls.shape[0];
      const q = loss.sharpened(teacher.cls, loss.center, epoch);
      const logP = student.cls
        .narrow(0, 0, rows)
        .to({ dtype: 'float32' })
        .div(loss.studentTemp)
        .logSoftmax(-1);
      const average = (x: Tensor): Tensor => {
        const mean = x.contiguous();
        collectives.allReduceSum(mean);
        return mean.div(collectives.worldSize);
      };
      const teacherEntropy = average(entropy(q).meanAll()).item();
      const crossEntropy = average(q.mul(logP).sum([-1]).neg().meanAll()).item();
      const features = gatherRows(collectives, (teacher.pooled as Tensor).to({ dtype: 'float32' }));
      return {
        teacherEntropy,
        studentEntropy: average(logP.exp().mul(logP).sum([-1]).neg().meanAll()).item(),
        kl: crossEntropy - teacherEntropy,
        answerSpread: entropy(average(q.mean([0], true))).item(),
        centerNorm: loss.center.normAll(2).item(),
        ...featureSpread(features),
      };
    }),
  );
}

/** p: [rows, K] -> [rows] */
function entropy(p: Tensor): Tensor {
  return scope(() => p.mul(p.clampMin(1e-30).log()).sum([-1]).neg());
}

/** features: [rows, D], any length */
export function featureSpread(features: Tensor): Pick<Health, 'featureStd' | 'effectiveRank'> {
  return noGrad(() =>
    scope(() => {
      const unit = unitLength(features);
      const centred = unit.sub(unit.mean([0], true));
      const [rows, width] = centred.sizes(2);
      const featureStd = centred.square().mean([0]).sqrt().meanAll().item() * Math.sqrt(width);
      // The singular values of the smaller Gram matrix are the same, and cheaper.
      // In float64, since rounding looks like rank just where a collapse has to be seen.
      const wide = centred.to({ dtype: 'float64' });
      const gram = rows < width ? wide.matmul(wide.t()) : wide.t().matmul(wide);
      const values = gram.linalgEigvalsh().clampMin(0).sqrt();
      const total = values.sumAll().item();
      if (!(total > 1e-9)) return { featureStd, effectiveRank: 1 };
      return { featureStd, effectiveRank: Math.exp(entropy(values.div(total).unsqueeze(0)).item()) };
    }),
  );
}

export type Verdict =
  | 'healthy'
  | 'not learning yet'
  | 'uniform collapse'
  | 'one-dimension collapse'
  | 'diverging';

export interface Diagnosis {
  verdict: Verdict;
  /** what to do, or an empty string */
  hint: string;
}

export interface HealthContext {
  /** mean over the last steps */
  loss: number;
  outDim: number;
  /** largest gradient norm of a parameter, before clipping */
  gradientNorm: number;
  /** optimisation steps so far, and those of the learning rate's warm-up */
  step: number;
  warmupSteps: number;
}

/** Judges by where the loss stands between 0 and ln(outDim), and by how the teacher's answers spread. */
export function diagnose(health: Health, context: HealthContext): Diagnosis {
  const { loss, outDim, gradientNorm, step, warmupSteps } = context;
  const most = Math.log(outDim);
  if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm) || loss > 1.5 * most)
    return { verdict: 'diverging', hint: 'lower --lr, or set --clip_grad' };
  if (health.answerSpread < 0.05 * most || health.featureStd < 0.02)
    return {
      verdict: 'one-dimension collapse',
      hint: 'every picture gets the same answer: check the centring, raise --teacher_temp, lower --lr',
    };
  if (health.teacherEntropy > 0.97 * most && step > warmupSteps)
    return {
      verdict: 'uniform collapse',
      hint: 'the teacher has no opinion: lower --teacher_temp or --out_dim, keep --norm_last_layer True',
    };
  if (loss > 0.97 * most)
    return {
      verdict: 'not learning yet',
      hint: step > 2 * warmupSteps ? 'raise --lr, or lower --momentum_teacher for short runs' : '',
    };
  return { verdict: 'healthy', hint: '' };
}
