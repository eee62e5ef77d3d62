/** From a checkpoint of any origin to the weights of one module, with a report of what fitted. */

import { extname } from 'node:path';
import { UserError } from '../errors.js';
import type { Module } from '../nn/index.js';
import { type Tensor, TensorBase } from '../torch/index.js';
import { readPth } from './pth.js';
import { readSafetensors } from './safetensors.js';
import { entryOf, OrderedDict, type PyValue, TorchParameter } from './values.js';

/** Where weights lie in checkpoints of this family, most wanted first. */
const USUAL_KEYS = ['teacher', 'student', 'state_dict', 'model'];

/** Wrappers that trainers leave in front of names. */
const WRAPPERS = /^(?:module\.|teacher\.|student\.|encoder\.)+/;

/** The tensors below `value`, by name; undefined when it holds anything else, or nothing. */
export function stateDictOf(value: PyValue | undefined): Map<string, Tensor> | undefined {
  if (!(value instanceof Map) || value.size === 0) return undefined;
  const state = new Map<string, Tensor>();
  for (const [name, item] of value) {
    const tensor = item instanceof TorchParameter ? item.data : item;
    if (typeof name !== 'string' || !(tensor instanceof TensorBase)) return undefined;
    state.set(name, tensor as Tensor);
  }
  return state;
}

/** A module's tensors as PyTorch saves them; `prefix` goes before each name. */
export function toStateDict(tensors: ReadonlyMap<string, Tensor>, prefix = ''): OrderedDict {
  const dict = new OrderedDict();
  for (const [name, tensor] of tensors) dict.set(prefix + name, tensor);
  return dict;
}

export interface Weights {
  state: Map<string, Tensor>;
  /** the key of the checkpoint that was taken, or null where the file is the state dict itself */
  key: string | null;
}

/**
 * The weights of a `.pth` or `.safetensors` file. `checkpointKey` names the part that is wanted, e.g.
 * 'teacher'; without it the usual ones are tried, and the file itself may be a state dict.
 */
export function readWeights(path: string, checkpointKey?: string): Weights {
  if (extname(path) === '.safetensors') return { state: readSafetensors(path).tensors, key: null };
  const value = readPth(path);
  const whole = stateDictOf(value);
  if (whole !== undefined) return { state: whole, key: null };
  const keys = value instanceof Map ? [...value.keys()].map(String) : [];
  const tried = checkpointKey === undefined ? USUAL_KEYS : [checkpointKey];
  for (const key of tried) {
    const state = stateDictOf(entryOf(value, key));
    if (state !== undefined) return { state, key };
  }
  throw new UserError(
    'checkpoint',
    `${path} has no weights under ${tried.map((key) => `'${key}'`).join(', ')}; it holds ${
      keys.length > 0 ? keys.slice(0, 12).join(', ') : 'no dictionary'
    }. Name the right part with --checkpoint_key.`,
  );
}

/** Names as the bare backbone has them: wrappers gone, and only the backbone's where heads are there too. */
export function backboneState(state: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const bare = new Map([...state].map(([name, tensor]) => [name.replace(WRAPPERS, ''), tensor]));
  const inside = [...bare].filter(([name]) => name.startsWith('backbone.'));
  if (inside.length > 0)
    return new Map(inside.map(([name, tensor]) => [name.slice('backbone.'.length), tensor]));
  return new Map([...bare].filter(([name]) => !/^head(?:_dense)?\./.test(name)));
}

export interface WeightReport {
  used: number;
  missing: string[];
  unexpected: string[];
  /** names whose shapes differ, with both shapes */
  mismatched: string[];
}

/**
 * Copies `state` into `module`. Missing or foreign names and other shapes are reported; less than half of the
 * module's tensors found is an error, since such a network would be a random one.
 */
export function loadWeights(
  module: Module,
  state: ReadonlyMap<string, Tensor>,
  source: string,
): WeightReport {
  const own = module.stateDict();
  const fitting = new Map<string, Tensor>();
  const mismatched: string[] = [];
  for (const [name, target] of own) {
    const found = state.get(name);
    if (found === undefined) continue;
    if (found.shape.join() === target.shape.join()) fitting.set(name, found);
    else mismatched.push(`${name} [${found.shape.join(', ')}], expected [${target.shape.join(', ')}]`);
  }
  const missing = [...own.keys()].filter((name) => !state.has(name));
  const unexpected = [...state.keys()].filter((name) => !own.has(name));
  if (fitting.size * 2 < own.size) {
    const example = mismatched[0] ?? `${missing[0]} is missing`;
    throw new UserError(
      'checkpoint',
      `${source} does not fit this network: ${fitting.size} of ${own.size} tensors match (${example}). ` +
        'Check --arch, --cfg and --checkpoint_key.',
    );
  }
  module.loadStateDict(fitting, { strict: false });
  return { used: fitting.size, missing, unexpected, mismatched };
}
