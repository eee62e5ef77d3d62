/**
 * Do our evaluations agree with scikit-learn's on the same features? Weighted k-NN and logistic regression, on features
 * that `esvit eval-knn --dump_features FOLDER --dump_format npy` wrote: `npx tsx bench/sklearn.ts --features FOLDER`.
 */

import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import {
  fitLogistic,
  knnAccuracy,
  type LabelledTable,
  loadFeatures,
  logisticAccuracy,
} from '../src/eval/index.js';
import { setThreads, type Tensor, TensorBase } from '../src/torch/index.js';
import { table } from './peer.js';

const KS = [10, 20, 200];
const TEMPERATURE = 0.07;
const COSTS = [0.1, 1];

interface Accuracies {
  knn: number[];
  logistic: number[];
}

const at = process.argv.indexOf('--features');
if (at < 0) throw new Error('give --features FOLDER');
const folder = process.argv[at + 1];
setThreads(cpus().length);

const { bank, queries } = await loadFeatures(folder);
const whole = ({ features, labels }: typeof bank): LabelledTable => ({
  features: features instanceof TensorBase ? (features as Tensor) : features.rows(0, features.count),
  labels,
});
const [train, val] = [whole(bank), whole(queries)];
const numLabels = Number(train.labels.max().item()) + 1;

const timed = (body: () => number[]): [number[], number] => {
  const start = performance.now();
  return [body(), (performance.now() - start) / 1000];
};
const [knn, knnSeconds] = timed(() =>
  knnAccuracy(train, val, { ks: KS, temperatures: [TEMPERATURE] }).map(({ top1 }) => top1),
);
const [logistic, logisticSeconds] = timed(() =>
  COSTS.map((cost) => {
    const model = fitLogistic(train, { numLabels, cost });
    if (!model.converged) console.log(`C = ${cost}: not converged after ${model.iterations} iterations`);
    return logisticAccuracy(model, val).acc1;
  }),
);

const script = fileURLToPath(new URL('peer/sklearn_evaluation.py', import.meta.url));
const request = JSON.stringify({ folder, ks: KS, temperature: TEMPERATURE, costs: COSTS });
const answer = execFileSync('/usr/bin/python3', [script, request], {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
});
const theirs = JSON.parse(answer) as Accuracies;

const percent = (value: number) => `${value.toFixed(2)}%`;
const line = (name: string, own: number, other: number) => [
  name,
  percent(own),
  percent(other),
  (own - other).toFixed(2),
];
console.log(
  `${train.labels.numel} training, ${val.labels.numel} test features of ${train.features.shape[1]} dimensions`,
);
console.log(
  table([
    ['top-1', 'esvit', 'scikit-learn', 'difference'],
    ...KS.map((k, i) => line(`k-NN, k = ${k}`, knn[i], theirs.knn[i])),
    ...COSTS.map((cost, i) => line(`logistic regression, C = ${cost}`, logistic[i], theirs.logistic[i])),
  ]),
);
console.log(
  `ours took ${knnSeconds.toFixed(1)} s for k-NN, ${logisticSeconds.toFixed(1)} s for both regressions`,
);
