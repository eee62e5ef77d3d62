/** From a file of any origin to named weights: where they lie in it, and what they are called. */

import { UserError } from '../errors.js';
import { type Tensor, TensorBase } from '../torch/index.js';
import { readPth } from './pth.js';
import { readTensors, tensorFormat } from './tensor-file.js';
import { entryOf, OrderedDict, type PyValue, TorchParameter } from './values.js';

/** Where weights lie in checkpoints of this family, most wanted first. */
const USUAL_KEYS = ['teacher', 'student', 'state_dict', 'model'];

/** What trainers and multi-crop wrappers leave in front of names, one inside the other. */
const WRAPPERS = /^(?:(?:module|teacher|student|encoder|backbone)\.)+/;

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
 * The weights of a `.pth`, `.safetensors` or `.npz` file. `checkpointKey` names the part that is wanted, e.g.
 * 'teacher'; without it the usual ones are tried, and the file itself may be a state dict.
 */
export function readWeights(path: string, checkpointKey?: string): Weights {
  const format = tensorFormat(path);
  if (format === 'safetensors' || format === 'npz') return flatPart(readTensors(path), checkpointKey);
  const value = readPth(path);
  const whole = stateDictOf(value);
  if (whole !== undefined) return flatPart(whole, checkpointKey);
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

/** Of a file that is one flat table, the names that begin with the wanted part, if there are such. */
function flatPart(state: Map<string, Tensor>, key: string | undefined): Weights {
  for (const wanted of key === undefined ? ['teacher', 'student'] : [key]) {
    const part = [...state].filter(([name]) => name.startsWith(`${wanted}.`));
    if (part.length > 0) return { state: new Map(part), key: wanted };
  }
  return { state, key: null };
}

/** A name without wrappers in front, however many: `module.backbone.backbone.conv1.weight` is `conv1.weight`. */
export function bareName(name: string): string {
  return name.replace(WRAPPERS, '');
}

/**
 * The backbone's tensors under bare names. Where some names say `backbone.` in front, the others are not the
 * backbone's; elsewhere all are but those of heads. Two tensors that would get one name are an error.
 */
export function backboneState(state: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const isInside = (name: string) => WRAPPERS.exec(name)?.[0].includes('backbone.') === true;
  const all = [...state];
  const inside = all.filter(([name]) => isInside(name));
  const bare = new Map<string, Tensor>();
  for (const [name, tensor] of inside.length > 0 ? inside : all) {
    const own = bareName(name);
    if (inside.length === 0 && /^head(?:_dense)?\./.test(own)) continue;
    if (bare.has(own))
      throw new UserError(
        'checkpoint',
        `two tensors would both be named '${own}', one of them is '${name}'; choose one part with --checkpoint_key.`,
      );
    bare.set(own, tensor);
  }
  return bare;
}
