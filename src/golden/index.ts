/** Checks against golden numbers: one file for each kind of case. */

import { messageOf } from '../errors.js';
import { runAnalysis } from './analysis.js';
import { runArch } from './arch.js';
import { runAugChain, runAugEval, runAugOp, runAugRrc } from './augmentation.js';
import { type Check, failed, type GoldenCase } from './case.js';
import { runCheckpoint } from './checkpoint.js';
import { runDataset } from './dataset.js';
import { runAugErase } from './erasing.js';
import { runGraph } from './graph.js';
import { runKnn } from './knn.js';
import { runLinear } from './linear.js';
import { runLoss } from './loss.js';
import { runSchedule } from './schedule.js';
import { runTrajectory } from './trajectory.js';
import { runVilAttn } from './vil-attn.js';

export { type Check, type GoldenCase, readManifest } from './case.js';

type Runner = (golden: GoldenCase, folder: string) => Iterable<Check> | AsyncIterable<Check>;

const RUNNERS: Readonly<Record<string, Runner>> = {
  analysis: runAnalysis,
  arch: runArch,
  aug_chain: runAugChain,
  aug_erase: runAugErase,
  aug_eval: runAugEval,
  aug_op: runAugOp,
  aug_rrc: runAugRrc,
  checkpoint: runCheckpoint,
  dataset: runDataset,
  graph: runGraph,
  knn: runKnn,
  linear: runLinear,
  loss: runLoss,
  schedule: runSchedule,
  trajectory: runTrajectory,
  vil_attn: runVilAttn,
};

export interface CaseResult {
  name: string;
  kind: string;
  ok: boolean;
  checks: number;
  /** the check that came nearest to its tolerance, or went furthest beyond it */
  worst: Check;
  /** the failed ones */
  failures: Check[];
}

/** Runs one case. Whatever goes wrong is a failure of this case, with its message. */
export async function runCase(golden: GoldenCase, folder: string): Promise<CaseResult> {
  const runner = RUNNERS[golden.kind];
  const checks: Check[] = [];
  if (runner === undefined) {
    checks.push(failed('kind', `cases of kind '${golden.kind}' are not implemented`));
  } else {
    try {
      for await (const check of runner(golden, folder)) checks.push(check);
      if (checks.length === 0) checks.push(failed('case', 'nothing was compared'));
    } catch (error) {
      checks.push(failed('case', messageOf(error)));
    }
  }
  const failures = checks.filter(({ ok }) => !ok);
  return {
    name: golden.name,
    kind: golden.kind,
    ok: failures.length === 0,
    checks: checks.length,
    worst: (failures.length > 0 ? failures : checks).reduce((a, b) => (strain(b) > strain(a) ? b : a)),
    failures,
  };
}

/** How much of its tolerance a check used. */
function strain({ worst, tolerance }: Check): number {
  if (worst === 0) return 0;
  return tolerance > 0 ? worst / tolerance : Number.POSITIVE_INFINITY;
}
