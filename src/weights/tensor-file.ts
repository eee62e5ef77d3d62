/** Files of named tensors by their endings: `.pth`, `.safetensors` and `.npz` hold the same, written and read alike. */

import { UserError } from '../errors.js';
import type { Tensor } from '../torch/index.js';
import { readNpz, writeNpz } from './npz.js';
import { writePth } from './pth-write.js';
import { readSafetensors, writeSafetensors } from './safetensors.js';
import { OrderedDict } from './values.js';

export type TensorFormat = 'pth' | 'safetensors' | 'npz';

const ENDINGS: Readonly<Record<string, TensorFormat>> = {
  '.safetensors': 'safetensors',
  '.npz': 'npz',
  '.pth': 'pth',
  '.pth.tar': 'pth',
  '.pt': 'pth',
  '.bin': 'pth',
  '.ckpt': 'pth',
};

/** The format that the ending of a path says; undefined for another one. */
export function tensorFormat(path: string): TensorFormat | undefined {
  const ending = Object.keys(ENDINGS).find((each) => path.toLowerCase().endsWith(each));
  return ending === undefined ? undefined : ENDINGS[ending];
}

/** Under this key the metadata say which names are one tensor: the format itself has no views. */
const TIES = 'esvit.tied';

/** The tensors of a flat table: a `.safetensors` or `.npz` file. Names of one tensor are one again. */
export function readTensors(path: string): Map<string, Tensor> {
  if (tensorFormat(path) === 'npz') return readNpz(path);
  const { tensors, metadata } = readSafetensors(path);
  for (const [name, first] of ties(metadata[TIES])) {
    const [own, other] = [tensors.get(name), tensors.get(first)];
    if (own !== undefined && other !== undefined && own.equal(other)) tensors.set(name, other);
  }
  return tensors;
}

function ties(text: string | undefined): [string, string][] {
  if (text === undefined) return [];
  try {
    const table: unknown = JSON.parse(text);
    if (typeof table !== 'object' || table === null) return [];
    return Object.entries(table).filter((pair): pair is [string, string] => typeof pair[1] === 'string');
  } catch {
    return []; // a note of ours at most; the tensors are whole without it
  }
}

/** Writes `tensors` in the format of the ending. `.pth` becomes a state dict that `torch.load` reads, ties and all. */
export function writeTensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const format = tensorFormat(path);
  if (format === undefined)
    throw new UserError(
      'usage',
      `${path} says no format; expected one of the endings ${Object.keys(ENDINGS).join(', ')}.`,
    );
  try {
    if (format === 'pth') writePth(path, new OrderedDict([...tensors]));
    else if (format === 'npz') writeNpz(path, tensors);
    else {
      const tied = tiesOf(tensors);
      const notes = Object.keys(tied).length > 0 ? { ...metadata, [TIES]: JSON.stringify(tied) } : metadata;
      writeSafetensors(path, tensors, notes);
    }
  } catch (error) {
    // a dtype or a name that the format does not have
    if (!(error instanceof TypeError)) throw error;
    throw new UserError('usage', `${path} cannot be written: ${error.message}. Use another format or dtype.`);
  }
}

/** By name, the first name of the very same tensor. */
function tiesOf(tensors: ReadonlyMap<string, Tensor>): Record<string, string> {
  const first = new Map<string, string>();
  const tied: Record<string, string> = {};
  for (const [name, tensor] of tensors) {
    if (tensor.numel === 0) continue;
    const place = placeOf(tensor);
    const known = first.get(place);
    if (known === undefined) first.set(place, name);
    else tied[name] = known;
  }
  return tied;
}

/** The same for tensors that are the same elements of the same memory. */
export function placeOf(tensor: Tensor): string {
  const { identity, offset } = tensor.storage;
  return [
    tensor.device,
    identity,
    offset,
    tensor.dtype,
    tensor.shape.join('x'),
    tensor.strides.join('x'),
  ].join(' ');
}
