/** The state of a run on disk, in the original's `.pth` layout, with what an exact resume needs beside it. */

import { UserError } from '../errors.js';
import type { OptimizerState } from '../optim/index.js';
import {
  type Device,
  noGrad,
  rngState,
  scope,
  setRngState,
  type Tensor,
  TensorBase,
  tensor,
} from '../torch/index.js';
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
  /** uint8 [ranks, bytes] the CPU generators of all ranks; only at the moment of saving and of going on */
  rankRng?: Tensor;
}

/** Fits one checkpoint's `module.` names to the names of our modules, and back. */
const STUDENT_PREFIX = 'module.';

/** The key under which our own state lies; other programs pass over it. */
const OWN_KEY = 'esvit';
const OWN_VERSION = 1;

/** Everything that a run is made of, as it goes into the file; the tensors are the run's own, not copies. */
export function gatherState(state: StepState, position: Position, args: object): Map<PyValue, PyValue> {
  const { student, teacher, loss, optimizer, scaler } = state;
  const content = new Map<PyValue, PyValue>([
    ['student', toStateDict(student.stateDict(), STUDENT_PREFIX)],
    ['teacher', toStateDict(teacher.stateDict())],
    ['optimizer', optimizerValue(optimizer.stateDict())],
    ['epoch', position.epoch],
    ['args', pythonValue(args)],
    ['dino_loss', toStateDict(loss.stateDict())],
  ]);
  if (scaler !== undefined) content.set('fp16_scaler', pythonValue(scaler.stateDict()));
  const { device } = student.parameters()[0];
  content.set(
    OWN_KEY,
    new Map<PyValue, PyValue>([
      ['version', OWN_VERSION],
      ['step', position.step],
      ['sums', pythonValue(position.sums)],
      ['rng', rngState('cpu')],
      ...(position.rankRng === undefined ? [] : [['rank_rng', position.rankRng] as [PyValue, PyValue]]),
      ...(device === 'cpu' ? [] : [['device_rng', rngState(device)] as [PyValue, PyValue]]),
    ]),
  );
  return content;
}

/** Writes everything atomically: what lay at `path` before stays until the new file is whole. */
export function saveCheckpoint(path: string, state: StepState, position: Position, args: object): void {
  scope(() => writePth(path, gatherState(state, position, args)));
}

/** A checkpoint that was read and understood; no run has been changed by it yet. */
export interface SavedState {
  readonly path: string;
  readonly student: Map<string, Tensor>;
  readonly teacher: Map<string, Tensor>;
  readonly loss: Map<string, Tensor>;
  readonly optimizer: OptimizerState;
  readonly scaler: Record<string, number>;
  readonly position: Position;
  /** states of random generators; none in a file of the original */
  readonly rng: Tensor | undefined;
  readonly deviceRng: Tensor | undefined;
  /** the settings of the run that wrote it */
  readonly args: PyValue | undefined;
}

/**
 * Reads a checkpoint, ours or the original's. Without our own key (a file of the original) the run goes on at the
 * beginning of the epoch that the file names.
 */
export function readCheckpoint(path: string): SavedState {
  const content = readPth(path);
  const part = (key: string): PyValue => {
    const value = entryOf(content, key);
    if (value === undefined)
      throw new UserError(
        'checkpoint',
        `${path} is not a training checkpoint: it has no '${key}'. To start from weights alone use --pretrained_weights.`,
      );
    return value;
  };
  const weights = (key: string): Map<string, Tensor> => {
    const found = stateDictOf(part(key));
    if (found === undefined) throw new UserError('checkpoint', `'${key}' in ${path} holds no weights.`);
    return new Map([...found].map(([name, value]) => [stripped(name), value]));
  };
  const [student, teacher, loss] = [weights('student'), weights('teacher'), weights('dino_loss')];
  const optimizer = optimizerState(part('optimizer'), path);
  const epoch = numberOf(part('epoch'));
  if (epoch === undefined) throw new UserError('checkpoint', `'epoch' in ${path} is no number.`);
  const own = entryOf(content, OWN_KEY);
  if (own !== undefined && numberOf(entryOf(own, 'version')) !== OWN_VERSION)
    // not 'checkpoint': the file is not broken
    throw new UserError('environment', `${path} was written by another version of esvit; update esvit.`);
  const tensorOf = (key: string) => {
    const value = entryOf(own, key);
    return value instanceof TensorBase ? (value as Tensor) : undefined;
  };
  const rankRng = tensorOf('rank_rng');
  return {
    path,
    student,
    teacher,
    loss,
    optimizer,
    scaler: numbers(entryOf(content, 'fp16_scaler')),
    position: {
      epoch,
      step: numberOf(entryOf(own, 'step')) ?? 0,
      sums: numbers(entryOf(own, 'sums')),
      ...(rankRng !== undefined && { rankRng }),
    },
    rng: tensorOf('rng'),
    deviceRng: tensorOf('device_rng'),
    args: entryOf(content, 'args'),
  };
}

/** Puts a saved state into a run: all of it, or, where a part does not fit, nothing. */
export function restoreState(saved: SavedState, state: StepState): Position {
  const { student, teacher, loss, optimizer, scaler } = state;
  const { device } = student.parameters()[0];
  const deviceRng = device === 'cpu' ? undefined : saved.deviceRng;
  try {
    student.checkStateDict(saved.student);
    teacher.checkStateDict(saved.teacher);
    loss.checkStateDict(saved.loss);
    optimizer.checkStateDict(saved.optimizer);
    checkRng(saved.rng, 'cpu');
    checkRng(deviceRng, device);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(error.kind, `${saved.path} does not fit this run: ${error.message}`, {
      cause: error,
    });
  }
  student.loadStateDict(saved.student);
  teacher.loadStateDict(saved.teacher);
  loss.loadStateDict(saved.loss);
  optimizer.loadStateDict(saved.optimizer);
  // the original writes an empty table where its scaler was switched off
  if (saved.scaler.scale !== undefined) scaler?.loadStateDict(saved.scaler);
  if (saved.rng !== undefined) setRngState(saved.rng, 'cpu');
  if (deviceRng !== undefined) setRngState(deviceRng, device);
  return { ...saved.position, sums: { ...saved.position.sums } };
}

/** Reads a saved state and puts it back, all or nothing. */
export function loadCheckpoint(path: string, state: StepState): Position {
  return scope(() => restoreState(readCheckpoint(path), state));
}

function stripped(name: string): string {
  return name.startsWith(STUDENT_PREFIX) ? name.slice(STUDENT_PREFIX.length) : name;
}

function checkRng(state: Tensor | undefined, device: Device): void {
  if (state === undefined) return;
  const expected = scope(() => rngState(device).numel);
  if (state.dtype !== 'uint8' || state.numel !== expected)
    throw new UserError(
      'checkpoint',
      `the state of the random numbers on ${device} has ${state.numel} ${state.dtype}, expected ${expected} uint8: it comes from another version of libtorch.`,
    );
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
