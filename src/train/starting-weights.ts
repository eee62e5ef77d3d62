/** The weights that a new run starts from: none, those of a file, or those of another run whose schedule goes on. */

import type { DeepReadonly } from '../config/index.js';
import { UserError } from '../errors.js';
import { locateWeights } from '../models/index.js';
import { scope, type Tensor } from '../torch/index.js';
import { bareName, describeReport, type FittedWeights, fitWeights, readWeights } from '../weights/index.js';
import { type Position, readCheckpoint, type SavedState } from './checkpoint.js';
import type { ResolvedTrainConfig } from './resolved-config.js';
import type { StepState } from './step.js';

type Config = DeepReadonly<ResolvedTrainConfig>;

const HEAD = /^head(?:_dense)?\./;

/** Fills `state` as `--pretrained_weights` or `--pretrained_weights_ckpt` say; where the run begins. */
export async function startFrom(
  config: Config,
  state: StepState,
  note: (line: string) => void,
): Promise<Position> {
  const { pretrained_weights: weights, pretrained_weights_ckpt: checkpoint, weights_base: base } = config;
  if (weights !== '' && checkpoint !== '')
    throw new UserError(
      'usage',
      '--pretrained_weights starts at epoch 0, --pretrained_weights_ckpt at the epoch of its file. Give one of them.',
    );
  const locate = (where: string) => locateWeights(where, { base, onNote: note });
  if (checkpoint !== '') return continueStage(await locate(checkpoint), config.epochs, state, note);
  if (weights !== '') note(startFromWeights(await locate(weights), config.checkpoint_key, state));
  return { epoch: 0, step: 0, sums: {} };
}

/**
 * Student and teacher both take the weights of `path`: the backbone, and heads as far as they fit. Returns what to
 * tell a person.
 */
export function startFromWeights(path: string, key: string | undefined, state: StepState): string {
  return scope(() => {
    const found = readWeights(path, key);
    const bare = new Map([...found.state].map(([name, value]) => [bareName(name), value]));
    const fit = fitBackbone(path, state.student.stateDict(), bare);
    for (const network of [state.student, state.teacher])
      network.loadStateDict(fit.fitting, { strict: false });
    return `Starts from ${path}${found.key === null ? '' : `, ${found.key}`}: ${describeReport(fit)}.`;
  });
}

/**
 * The second stage of the paper's recipe for large networks: a run with both tasks goes on with a checkpoint of one
 * with views alone. Weights, centres and epoch are taken over as far as they fit, and the optimiser where it is of
 * the same parameters; the rest, such as the dense head, starts fresh.
 */
export function continueStage(
  path: string,
  epochs: number,
  state: StepState,
  note: (line: string) => void,
): Position {
  return scope(() => {
    const saved = readCheckpoint(path);
    const { epoch } = saved.position;
    if (epoch >= epochs)
      throw new UserError(
        'config',
        `${path} is the state after ${epoch} epochs, so --epochs ${epochs} leaves nothing to do. Raise --epochs, or begin at epoch 0 with --pretrained_weights ${path}.`,
      );
    const student = fitBackbone(path, state.student.stateDict(), saved.student);
    const teacher = fitBackbone(path, state.teacher.stateDict(), saved.teacher);
    const centres = fitWeights(state.loss.stateDict(), saved.loss);
    state.student.loadStateDict(student.fitting, { strict: false });
    state.teacher.loadStateDict(teacher.fitting, { strict: false });
    state.loss.loadStateDict(centres.fitting, { strict: false });
    const reason = takeOptimizer(saved, state);
    if (saved.scaler.scale !== undefined) state.scaler?.loadStateDict(saved.scaler);
    note(`Goes on at epoch ${epoch} from ${path}: ${describeReport(student)}.`);
    if (centres.missing.length > 0) note(`Fresh centres: ${centres.missing.join(', ')}.`);
    if (reason !== undefined) note(`The optimiser starts fresh: ${reason}`);
    return { epoch, step: 0, sums: {} };
  });
}

/** Undefined when it was taken over, else why not. */
function takeOptimizer({ optimizer }: SavedState, state: StepState): string | undefined {
  try {
    state.optimizer.loadStateDict(optimizer); // checks all of it before it takes any
    return undefined;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

/** What fits of `found`; a backbone that does not fit as a whole is refused, heads may stay fresh. */
function fitBackbone(
  path: string,
  own: ReadonlyMap<string, Tensor>,
  found: ReadonlyMap<string, Tensor>,
): FittedWeights {
  const fit = fitWeights(own, found);
  const isBackbone = (line: string) => !HEAD.test(line);
  const backbone = [...own.keys()].filter(isBackbone);
  const lost = [...fit.mismatched, ...fit.missing].filter(isBackbone);
  if (lost.length > 0)
    throw new UserError(
      'checkpoint',
      `${path} is of another network: ${lost.length} of ${backbone.length} tensors of the backbone do not fit (${lost[0]}). Check --arch and --cfg.`,
    );
  return fit;
}
