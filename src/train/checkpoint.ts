/** The state of a run on disk, in the original's `.pth` layout, with what an exact resume needs beside it. */

import { existsSync } from 'node:fs';
import { UserError } from '../errors.js';
import type { OptimizerState } from '../optim/index.js';
import { noGrad, rngState, scope, setRngState, type Tensor, TensorBase, tensor } from '../torch/index.js';
import {
  entryOf,
  NumpyScalar,
  numberOf,
  PyFloat,
  PyTuple,
  type PyValue,
  readPth,
  stateDictOf,
  toStateDict,
  writePth,
} from '../weights/index.js';
import type { StepState } from './step.js';

/** Where a run stands, and what its epoch has added up so far. */
export interface Position {
  /** the epoch that is under way (or comes next) */
  epoch: number;
  /** optimisation steps already taken in it */
  step: number;
  /** sums over those steps, for the epoch's line in log.txt */
  sums: Record<string, number>;
}

/** Fits one checkpoint's `module.` names to the names of our modules, and back. */
const STUDENT_PREFIX = 'module.';

/** The key under which our own state lies; other programs pass over it. */
const OWN_KEY = 'esvit';
const OWN_VERSION = 1;

/** Writes everything atomically: what lay at `path` before stays until the new file is whole. */
export function saveCheckpoint(path: string, state: StepState, position: Position, args: object): void {
  const { student, teacher, loss, optimizer, scaler } = state;
  scope(() => {
    const content = new Map<PyValue, PyValue>([
      ['student', toStateDict(student.stateDict(), STUDENT_PREFIX)],
      ['teacher', toStateDict(teacher.stateDict())],
      ['optimizer', optimizerValue(optimizer.stateDict())],
      ['epoch', position.epoch],
      ['args', pythonValue(args)],
      ['dino_loss', toStateDict(loss.stateDict())],
    ]);
    if (scaler !== undefined) content.set('fp16_scaler', pythonValue(scaler.stateDict()));
    const [device] = [student.parameters()[0].device];
    content.set(
      OWN_KEY,
      new Map<PyValue, PyValue>([
        ['version', OWN_VERSION],
        ['step', position.step],
        ['sums', pythonValue(position.sums)],
        ['rng', rngState('cpu')],
        ...(device === 'cpu' ? [] : [['device_rng', rngState(device)] as [PyValue, PyValue]]),
      ]),
    );
    writePth(path, content);
  });
}

/**
 * Puts a saved state back, ours or the original's. Without our own key (a file of the original) the run goes
 * on at the beginning of the epoch that the file names.
 */
export function loadCheckpoint(path: string, state: StepState): Position {
  return scope(() => {
    const content = readPth(path);
    const part = (key: string): PyValue => {
      const value = entryOf(content, key);
      if (value === undefined)
        throw new UserError(
          'checkpoint',
          `${path} is not a training checkpoint: it has no '${key}'. To start from weights alone use --pretrained_weights_ckpt.`,
        );
      return value;
    };
    const weights = (key: string): Map<string, Tensor> => {
      const found = stateDictOf(part(key));
      if (found === undefined) throw new UserError('checkpoint', `'${key}' in ${path} holds no weights.`);
      return new Map([...found].map(([name, value]) => [stripped(name), value]));
    };
    try {
      state.student.loadStateDict(weights('student'));
      state.teacher.loadStateDict(weights('teacher'));
      state.loss.loadStateDict(weights('dino_loss'));
      state.optimizer.loadStateDict(optimizerState(part('optimizer'), path));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      throw new UserError(error.kind, `${path} does not fit this run: ${error.message}`, { cause: error });
    }
    const scaler = entryOf(content, 'fp16_scaler');
    if (scaler !== undefined && state.scaler !== undefined) state.scaler.loadStateDict(numbers(scaler));
    const epoch = numberOf(part('epoch'));
    if (epoch === undefined) throw new UserError('checkpoint', `'epoch' in ${path} is no number.`);
    const own = entryOf(content, OWN_KEY);
    if (own === undefined) return { epoch, step: 0, sums: {} };
    if (numberOf(entryOf(own, 'version')) !== OWN_VERSION)
      throw new UserError('checkpoint', `${path} was written by another version of esvit; update esvit.`);
    restoreRng(own, 'rng', 'cpu');
    const { device } = state.student.parameters()[0];
    if (device !== 'cpu') restoreRng(own, 'device_rng', device);
    return { epoch, step: numberOf(entryOf(own, 'step')) ?? 0, sums: numbers(entryOf(own, 'sums')) };
  });
}

/**
 * Starts from the weights of another run, as the paper's second stage does (view-level first, then both
 * tasks): backbone and heads that fit are taken for student and teacher, the rest stays fresh.
 */
export function loadPretrained(path: string, state: StepState): { taken: number; fresh: string[] } {
  if (!existsSync(path))
    throw new UserError('checkpoint', `There is no file ${path}; check --pretrained_weights_ckpt.`);
  return scope(() => {
    const content = readPth(path);
    let taken = 0;
    const fresh: string[] = [];
    for (const key of ['student', 'teacher'] as const) {
      const found = stateDictOf(entryOf(content, key));
      if (found === undefined)
        throw new UserError('checkpoint', `${path} has no '${key}': it is not a training checkpoint.`);
      const module = state[key];
      const own = module.stateDict();
      const fitting = new Map(
        [...found]
          .map(([name, value]): [string, Tensor] => [stripped(name), value])
          .filter(([name, value]) => own.get(name)?.shape.join() === value.shape.join()),
      );
      const backbone = [...own.keys()].filter((name) => !/^head(_dense)?\./.test(name));
      const missing = backbone.filter((name) => !fitting.has(name));
      if (missing.length > 0)
        throw new UserError(
          'checkpoint',
          `${path} is of another network: ${missing.length} of ${backbone.length} tensors of the backbone do not fit (${missing[0]}). Check --arch and --cfg.`,
        );
      module.loadStateDict(fitting, { strict: false });
      if (key === 'student') {
        taken = fitting.size;
        fresh.push(...[...own.keys()].filter((name) => !fitting.has(name)));
      }
    }
    return { taken, fresh };
  });
}

function stripped(name: string): string {
  return name.startsWith(STUDENT_PREFIX) ? name.slice(STUDENT_PREFIX.length) : name;
}

function restoreRng(own: PyValue, key: string, device: string): void {
  const saved = entryOf(own, key);
  if (saved instanceof TensorBase) setRngState(saved as Tensor, device);
}

/** PyTorch's layout; `step` is a 0-d tensor there since 1.12. */
function optimizerValue({ state, paramGroups }: OptimizerState): PyValue {
  const states = new Map<PyValue, PyValue>();
  for (const [number, own] of state) {
    const entry = new Map<PyValue, PyValue>();
    for (const [name, value] of Object.entries(own))
      entry.set(name, typeof value === 'number' ? noGrad(() => tensor(value, { dtype: 'float32' })) : value);
    states.set(number, entry);
  }
  const groups = paramGroups.map(({ settings, params }) => {
    const group = new Map<PyValue, PyValue>();
    for (const [name, value] of Object.entries(settings)) group.set(name, settingValue(name, value));
    group.set('params', params);
    return group;
  });
  return new Map<PyValue, PyValue>([
    ['state', states],
    ['param_groups', groups],
  ]);
}

function settingValue(name: string, value: unknown): PyValue {
  if (name === 'betas') return new PyTuple((value as number[]).map((beta) => new PyFloat(beta)));
  return typeof value === 'number' ? new PyFloat(value) : (value as PyValue);
}

function optimizerState(value: PyValue, path: string): OptimizerState {
  const saved = entryOf(value, 'state');
  const groups = entryOf(value, 'param_groups');
  if (!(saved instanceof Map) || !Array.isArray(groups))
    throw new UserError('checkpoint', `'optimizer' in ${path} is not the state of an optimiser.`);
  const state: OptimizerState['state'] = new Map();
  for (const [number, own] of saved) {
    const entry: Record<string, Tensor | number> = {};
    if (own instanceof Map)
      for (const [name, item] of own) {
        if (item instanceof TensorBase) entry[String(name)] = item as Tensor;
        else if (numberOf(item) !== undefined) entry[String(name)] = numberOf(item) as number;
      }
    state.set(Number(number), entry);
  }
  return {
    state,
    paramGroups: groups.map((group) => ({
      settings: Object.fromEntries(
        group instanceof Map ? [...group].map(([name, item]) => [name, numberOf(item) ?? item]) : [],
      ),
      params: (entryOf(group, 'params') as number[] | undefined) ?? [],
    })),
  };
}

function numbers(value: PyValue | undefined): Record<string, number> {
  if (!(value instanceof Map)) return {};
  return Object.fromEntries([...value].map(([name, item]) => [String(name), numberOf(item) ?? Number.NaN]));
}

/** Plain data as Python's; whole numbers become ints. */
function pythonValue(value: unknown): PyValue {
  if (value === undefined) return null;
  if (Array.isArray(value)) return value.map(pythonValue);
  if (typeof value === 'object' && value !== null && !(value instanceof NumpyScalar))
    return new Map<PyValue, PyValue>(Object.entries(value).map(([name, item]) => [name, pythonValue(item)]));
  return value as PyValue;
}
