/** Logistic regression on frozen features, solved to its optimum by L-BFGS: a quick answer without learning rates. */

import { inferenceMode, linear, scope, type Tensor, zeros } from '../torch/index.js';
import { type LabelledBatch, rowsOfTable } from './linear.js';

export interface LogisticOptions {
  numLabels: number;
  /** weight of the data against the penalty |W|²/2, as scikit-learn's `C` */
  cost: number;
  /** default 500 */
  maxIterations?: number;
  /** largest element of the gradient of the mean loss at which the optimum counts as reached; default 1e-5 */
  tolerance?: number;
  /** where to begin, e.g. at the solution for another cost */
  start?: LogisticModel;
}

/** Softmax regression on standardised features, in float64: logits = ((x - mean) / scale) Wᵀ + b. */
export interface LogisticModel {
  /** [D] */
  mean: Tensor;
  /** [D] standard deviations, 1 where a feature does not vary */
  scale: Tensor;
  /** float64 [numLabels, D + 1], the bias last */
  weight: Tensor;
  /** mean loss with its penalty */
  objective: number;
  iterations: number;
  converged: boolean;
}

const MEMORY = 10;
const ROWS = 8192;
/** A step is taken when it gains this share of what the slope promises. */
const SUFFICIENT = 1e-4;
const HALVINGS = 30;

/** The unique minimum of C Σ loss + |W|²/2 over the standardised rows (the bias is not penalised). */
export function fitLogistic(table: LabelledBatch, options: LogisticOptions): LogisticModel {
  const { numLabels, cost, maxIterations = 500, tolerance = 1e-5, start } = options;
  return inferenceMode(() =>
    scope(() => {
      const { mean, scale } = start ?? moments(table.features);
      const penalty = 1 / (cost * table.labels.numel);
      const evaluate = (w: Tensor) => objective(table, mean, scale, w, penalty);
      let weight =
        start?.weight.clone() ?? zeros([numLabels, table.features.shape[1] + 1], { dtype: 'float64' });
      let { value, gradient } = evaluate(weight);
      const pairs: { s: Tensor; y: Tensor; rho: number }[] = [];
      let iterations = 0;
      let converged = largest(gradient) <= tolerance;
      while (!converged && iterations < maxIterations) {
        const direction = quasiNewton(gradient, pairs);
        const slope = dot(direction, gradient);
        let step = pairs.length === 0 ? Math.min(1, 1 / gradient.abs().sumAll().item()) : 1;
        let next: { weight: Tensor; value: number; gradient: Tensor } | undefined;
        for (let i = 0; i < HALVINGS && next === undefined; i++, step /= 2) {
          const tried = weight.add(direction, { alpha: step });
          const found = evaluate(tried);
          if (found.value <= value + SUFFICIENT * step * slope) next = { weight: tried, ...found };
          else dispose(tried, found.gradient);
        }
        dispose(direction);
        if (next === undefined) break; // as low as these digits go
        const s = next.weight.sub(weight);
        const y = next.gradient.sub(gradient);
        dispose(weight, gradient);
        const curvature = dot(s, y);
        if (curvature > 1e-12 * dot(y, y)) pairs.push({ s, y, rho: 1 / curvature });
        else dispose(s, y);
        if (pairs.length > MEMORY) {
          const oldest = pairs.shift();
          if (oldest !== undefined) dispose(oldest.s, oldest.y);
        }
        ({ weight, value, gradient } = next);
        iterations++;
        converged = largest(gradient) <= tolerance;
      }
      return { mean: mean.clone(), scale: scale.clone(), weight, objective: value, iterations, converged };
    }),
  );
}

/** Freed at once: with many classes each of these is large, and there may be hundreds of iterations. */
function dispose(...tensors: readonly Tensor[]): void {
  for (const one of tensors) one.dispose();
}

const dot = (a: Tensor, b: Tensor) => scope(() => a.mul(b).sumAll().item());
const largest = (x: Tensor) => scope(() => x.abs().max().item());

/** The two loops of L-BFGS (Nocedal and Wright, algorithm 7.4). -> minus the estimated inverse Hessian by the gradient */
function quasiNewton(gradient: Tensor, pairs: readonly { s: Tensor; y: Tensor; rho: number }[]): Tensor {
  return scope(() => {
    const q = gradient.neg();
    const alphas = new Array<number>(pairs.length);
    for (let i = pairs.length - 1; i >= 0; i--) {
      alphas[i] = pairs[i].rho * dot(pairs[i].s, q);
      q.sub_(pairs[i].y, { alpha: alphas[i] });
    }
    const last = pairs.at(-1);
    if (last !== undefined) q.mul_(1 / (last.rho * dot(last.y, last.y)));
    for (const [i, { s, y, rho }] of pairs.entries()) q.add_(s, { alpha: alphas[i] - rho * dot(y, q) });
    return q;
  });
}

/** Mean and standard deviation of each feature, in float64 sums over pieces. */
function moments(features: Tensor): { mean: Tensor; scale: Tensor } {
  const [rows, width] = features.sizes(2);
  const sum = zeros([width], { dtype: 'float64' });
  const squares = zeros([width], { dtype: 'float64' });
  for (let start = 0; start < rows; start += ROWS)
    scope(() => {
      const piece = features
        .narrow(0, start, Math.min(ROWS, rows - start))
        .to({ dtype: 'float64', device: 'cpu' });
      sum.add_(piece.sum([0]));
      squares.add_(piece.square().sum([0]));
    });
  return scope(() => {
    const mean = sum.div(rows);
    const deviation = squares.div(rows).sub(mean.square()).clampMin(0).sqrt();
    // A feature that does not vary says nothing, and is not divided by nothing.
    const scale = deviation.maskedFill(deviation.le(mean.abs().mul(1e-6).add(1e-12)), 1);
    return { mean, scale };
  });
}

/** Logits of some rows. features: [n, D] -> [n, numLabels], with the standardised rows */
function predict(
  { mean, scale, weight }: Pick<LogisticModel, 'mean' | 'scale' | 'weight'>,
  features: Tensor,
) {
  const width = mean.numel;
  const rows = features.to({ dtype: 'float64', device: 'cpu' }).sub(mean).div(scale);
  const matrix = weight.narrow(1, 0, width).contiguous();
  const logits = linear(rows, matrix, weight.select(1, width).contiguous());
  return { rows, logits };
}

function objective(
  table: LabelledBatch,
  mean: Tensor,
  scale: Tensor,
  weight: Tensor,
  penalty: number,
): { value: number; gradient: Tensor } {
  return scope(() => {
    const width = mean.numel;
    const count = table.labels.numel;
    const slopes = zeros([weight.shape[0], width + 1], { dtype: 'float64' });
    let loss = 0;
    for (const { features, labels } of rowsOfTable(table, ROWS))
      scope(() => {
        const { rows, logits } = predict({ mean, scale, weight }, features);
        const target = labels.view([-1, 1]);
        const normaliser = logits.logsumexp([1], true);
        loss += normaliser.sub(logits.gather(1, target)).sumAll().item();
        const wrong = logits.sub(normaliser).exp_(); // softmax, then minus one-hot
        wrong.scatterAdd_(1, target, wrong.onesLike().narrow(1, 0, 1).neg());
        slopes.narrow(1, 0, width).add_(wrong.t().matmul(rows));
        slopes.select(1, width).add_(wrong.sum([0]));
      });
    const matrix = weight.narrow(1, 0, width);
    const gradient = slopes.div_(count);
    gradient.narrow(1, 0, width).add_(matrix, { alpha: penalty });
    return { value: loss / count + (penalty / 2) * dot(matrix, matrix), gradient };
  });
}

/** Percent of right answers among the first, and among the first five (or all, if there are fewer). */
export function logisticAccuracy(model: LogisticModel, table: LabelledBatch): { acc1: number; acc5: number } {
  return inferenceMode(() =>
    scope(() => {
      let [hits1, hits5] = [0, 0];
      for (const { features, labels } of rowsOfTable(table, ROWS))
        scope(() => {
          const { logits } = predict(model, features);
          const [, ranked] = logits.topk(Math.min(5, logits.shape[1]), 1, true, true);
          const hits = ranked.eq(labels.view([-1, 1]));
          hits1 += hits.narrow(1, 0, 1).sumAll().item();
          hits5 += hits.sumAll().item();
        });
      const count = table.labels.numel;
      return { acc1: (100 * hits1) / count, acc5: (100 * hits5) / count };
    }),
  );
}
