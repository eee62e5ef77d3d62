/** The state of a linear evaluation on disk: the original's layout, with all classifiers beside it. */

import { UserError } from '../errors.js';
import { noGrad, scope, type Tensor, TensorBase } from '../torch/index.js';
import {
  entryOf,
  numberOf,
  PyFloat,
  type PyValue,
  readPth,
  stateDictOf,
  toStateDict,
  writePth,
} from '../weights/index.js';
import type { LinearProbes, ProbeSetting, ProbeState } from './linear.js';

/** Where an evaluation stands. */
export interface LinearProgress {
  /** epochs that are done */
  epoch: number;
  /** highest top-1 accuracy so far, by setting, in percent */
  best: number[];
  /** what was evaluated, in one line; another one is refused when going on */
  subject: string;
  /** the pictures of a step; undefined in a file of the original */
  stepSize?: StepSize;
}

/** The pictures of a step: so many of each process. */
export interface StepSize {
  batchSize: number;
  worldSize: number;
}

const OWN_KEY = 'esvit';
const OWN_VERSION = 1;
const WEIGHT = 'module.linear.weight';
const BIAS = 'module.linear.bias';

/** The number of the setting with the highest accuracy; the first of equals. */
export function bestOf(accuracies: readonly number[]): number {
  return accuracies.indexOf(Math.max(...accuracies));
}

/** Writes everything atomically. The original's keys hold the best classifier. */
export function saveLinear(
  path: string,
  probes: LinearProbes,
  progress: LinearProgress,
  epochs: number,
): void {
  scope(() => {
    const best = bestOf(progress.best);
    const all = probes.settings.map(({ blocks, lr }, i) => {
      const { weight, bias, momentumWeight, momentumBias } = probes.state(i);
      return new Map<PyValue, PyValue>([
        ['n_last_blocks', blocks],
        ['lr', new PyFloat(lr)],
        ['best_acc', new PyFloat(progress.best[i])],
        ['weight', weight.clone()],
        ['bias', bias.clone()],
        ['momentum_weight', momentumWeight.clone()],
        ['momentum_bias', momentumBias.clone()],
      ]);
    });
    const tensorOf = (name: string) => all[best].get(name) as Tensor;
    const rate = new PyFloat(probes.rate(best, progress.epoch));
    const base = new PyFloat(probes.settings[best].lr);
    const content = new Map<PyValue, PyValue>([
      ['epoch', progress.epoch],
      [
        'state_dict',
        toStateDict(
          new Map([
            [WEIGHT, tensorOf('weight')],
            [BIAS, tensorOf('bias')],
          ]),
        ),
      ],
      ['optimizer', optimizerValue(rate, base, [tensorOf('momentum_weight'), tensorOf('momentum_bias')])],
      [
        'scheduler',
        new Map<PyValue, PyValue>([
          ['T_max', epochs],
          ['eta_min', 0],
          ['base_lrs', [base]],
          ['last_epoch', progress.epoch],
          ['verbose', false],
          ['_step_count', progress.epoch + 1],
          ['_get_lr_called_within_step', false],
          ['_last_lr', [rate]],
        ]),
      ],
      ['best_acc', new PyFloat(progress.best[best])],
      [
        OWN_KEY,
        new Map<PyValue, PyValue>([
          ['version', OWN_VERSION],
          ['subject', progress.subject],
          ...sizeEntries(progress.stepSize),
          ['probes', all],
        ]),
      ],
    ]);
    writePth(path, content);
  });
}

function sizeEntries(size: StepSize | undefined): [PyValue, PyValue][] {
  return size === undefined
    ? []
    : [
        ['batch_size', size.batchSize],
        ['world_size', size.worldSize],
      ];
}

function sizeOf(own: PyValue): StepSize | undefined {
  const [batchSize, worldSize] = ['batch_size', 'world_size'].map((key) => numberOf(entryOf(own, key)));
  return batchSize === undefined || worldSize === undefined ? undefined : { batchSize, worldSize };
}

/** As PyTorch's SGD writes it, for the weight and the bias. */
function optimizerValue(lr: PyFloat, initial: PyFloat, buffers: readonly Tensor[]): PyValue {
  const state = new Map<PyValue, PyValue>(
    buffers.map((buffer, i) => [i, new Map<PyValue, PyValue>([['momentum_buffer', buffer]])]),
  );
  const group = new Map<PyValue, PyValue>([
    ['lr', lr],
    ['momentum', new PyFloat(0.9)],
    ['dampening', 0],
    ['weight_decay', 0],
    ['nesterov', false],
    ['maximize', false],
    ['foreach', null],
    ['differentiable', false],
    ['initial_lr', initial],
    ['params', [0, 1]],
  ]);
  return new Map<PyValue, PyValue>([
    ['state', state],
    ['param_groups', [group]],
  ]);
}

/**
 * Puts a saved state back, ours or the original's (which holds one classifier). Another number of processes may go on:
 * the learning rates follow the size of a step.
 */
export function loadLinear(
  path: string,
  probes: LinearProbes,
  { epochs, subject, stepSize }: { epochs: number; subject: string; stepSize?: StepSize },
): LinearProgress {
  return scope(() => {
    const content = readPth(path);
    const epoch = numberOf(entryOf(content, 'epoch'));
    const wrong = (detail: string) =>
      new UserError(
        'checkpoint',
        `${path} cannot be gone on with: ${detail}. Give the same settings, or another --output_dir to begin anew.`,
      );
    if (epoch === undefined) throw wrong("it has no 'epoch', so it is none of a linear evaluation");
    const length = numberOf(entryOf(entryOf(content, 'scheduler'), 'T_max'));
    if (length !== epochs) throw wrong(`it was made for --epochs ${length}, now it is ${epochs}`);
    const own = entryOf(content, OWN_KEY);
    if (own === undefined) return { epoch, best: [loadOriginal(content, probes, wrong)], subject };
    if (numberOf(entryOf(own, 'version')) !== OWN_VERSION) throw wrong('another version of esvit wrote it');
    const before = entryOf(own, 'subject');
    if (before !== subject) throw wrong(`it is of ${String(before)}, now it is ${subject}`);
    const saved = entryOf(own, 'probes');
    const found = Array.isArray(saved) ? saved : [];
    const name = ({ blocks, lr }: ProbeSetting) => `${blocks} blocks at lr ${lr}`;
    const had = found.map((probe) => ({
      blocks: numberOf(entryOf(probe, 'n_last_blocks')) ?? 0,
      lr: numberOf(entryOf(probe, 'lr')) ?? 0,
    }));
    const sizeBefore = sizeOf(own);
    const growth = growthOf(sizeBefore, stepSize);
    const want = probes.settings;
    const isSame = ({ blocks, lr }: ProbeSetting, i: number) =>
      had[i]?.blocks === blocks && Math.abs(had[i].lr * growth - lr) <= 1e-9 * lr;
    if (had.length !== want.length || !want.every(isSame))
      throw wrong(
        `it holds classifiers of ${had.map(name).join(', ')}, asked for are ${want.map(name).join(', ')}`,
      );
    const best = found.map((probe, i) => {
      const part = (key: string) => entryOf(probe, key);
      fill(
        probes.state(i),
        {
          weight: part('weight'),
          bias: part('bias'),
          momentumWeight: part('momentum_weight'),
          momentumBias: part('momentum_bias'),
        },
        wrong,
      );
      return numberOf(part('best_acc')) ?? 0;
    });
    return { epoch, best, subject, ...(sizeBefore !== undefined && { stepSize: sizeBefore }) };
  });
}

/** How much larger a step is with another number of processes; one number of them keeps its settings. */
function growthOf(before: StepSize | undefined, now: StepSize | undefined): number {
  if (before === undefined || now === undefined || before.worldSize === now.worldSize) return 1;
  return (now.batchSize * now.worldSize) / (before.batchSize * before.worldSize);
}

/** -> best accuracy */
function loadOriginal(content: PyValue, probes: LinearProbes, wrong: (detail: string) => UserError): number {
  if (probes.settings.length !== 1) throw wrong('it holds one classifier, and several are asked for');
  const base = entryOf(entryOf(content, 'scheduler'), 'base_lrs');
  const lr = Array.isArray(base) ? numberOf(base[0]) : undefined;
  const [wanted] = probes.settings;
  if (lr === undefined || Math.abs(lr - wanted.lr) > 1e-9 * Math.abs(wanted.lr))
    throw wrong(`its learning rate, scaled by the batch, was ${lr}, now it is ${wanted.lr}`);
  const state = stateDictOf(entryOf(content, 'state_dict'));
  const saved = entryOf(entryOf(content, 'optimizer'), 'state');
  const buffer = (number: number) =>
    entryOf(saved instanceof Map ? saved.get(number) : undefined, 'momentum_buffer');
  fill(
    probes.state(0),
    {
      weight: state?.get(WEIGHT),
      bias: state?.get(BIAS),
      momentumWeight: buffer(0),
      momentumBias: buffer(1),
    },
    wrong,
  );
  return numberOf(entryOf(content, 'best_acc')) ?? 0;
}

function fill(
  own: ProbeState,
  saved: Readonly<Record<keyof ProbeState, PyValue | undefined>>,
  wrong: (detail: string) => UserError,
): void {
  noGrad(() => {
    for (const key of Object.keys(own) as (keyof ProbeState)[]) {
      const value = saved[key];
      if (!(value instanceof TensorBase)) throw wrong(`it lacks the ${key}`);
      if (value.shape.join() !== own[key].shape.join())
        throw wrong(`its ${key} is [${value.shape.join(', ')}], expected [${own[key].shape.join(', ')}]`);
      own[key].copy_(value);
    }
  });
}
