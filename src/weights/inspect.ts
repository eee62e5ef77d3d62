/** What is in a file of weights, tensor by tensor and value by value, without reading the weights themselves. */

import { basename, extname } from 'node:path';
import { type Tensor, TensorBase } from '../torch/index.js';
import { type NpyHead, outlineNpy, readNpy } from './npy.js';
import { outlineNpz, readNpz } from './npz.js';
import { outlinePth, readPth } from './pth.js';
import { outlineSafetensors, readSafetensors } from './safetensors.js';
import { type StoredDType, storedBytes, TensorOutline } from './storage.js';
import { tensorFormat } from './tensor-file.js';
import {
  Namespace,
  NumpyArray,
  NumpyScalar,
  PyComplex,
  PyDType,
  PyFloat,
  PySize,
  PyTuple,
  type PyValue,
  TorchParameter,
} from './values.js';

export interface InspectedTensor {
  /** keys on the way to it, joined by '/': `teacher/norm.weight` */
  path: string;
  dtype: StoredDType;
  shape: readonly number[];
  strides: readonly number[];
  /** of its elements */
  bytes: number;
  /** the memory of the file that it looks into, and where: elements from its beginning */
  storage: { key: string; bytes: number; offset: number };
  /** the first tensor that looks into the same memory, or null */
  sharesWith: string | null;
}

export type PlainValue = null | boolean | number | string;

export interface Inspection {
  format: 'pth, zip' | 'pth, before PyTorch 1.6' | 'safetensors' | 'npz' | 'npy';
  /** of the file in bytes */
  size: number;
  tensors: InspectedTensor[];
  /** what else is in it: settings, epochs, names; numbers too large for JSON are texts */
  values: { path: string; value: PlainValue }[];
}

type Leaf = { path: string; item: unknown };

export function inspectFile(path: string): Inspection {
  switch (formatOf(path)) {
    case 'safetensors': {
      const { size, tensors, metadata } = outlineSafetensors(path);
      return inspection('safetensors', size, [
        ...[...tensors].map(([name, item]) => ({ path: name, item })),
        ...Object.entries(metadata).map(([name, item]) => ({ path: `metadata/${name}`, item })),
      ]);
    }
    case 'npz': {
      const { size, heads } = outlineNpz(path);
      return inspection(
        'npz',
        size,
        [...heads].map(([name, head]) => ({ path: name, item: outlineOf(name, head) })),
      );
    }
    case 'npy': {
      const head = outlineNpy(path);
      return inspection('npy', head.size, [{ path: arrayName(path), item: outlineOf('array', head) }]);
    }
    default: {
      const { format, size, value } = outlinePth(path);
      const name = format === 'zip' ? 'pth, zip' : 'pth, before PyTorch 1.6';
      return inspection(name, size, leaves(value));
    }
  }
}

/** The tensors of a file under the paths that `inspectFile` gives them. */
export function tensorsByPath(path: string): Map<string, Tensor> {
  switch (formatOf(path)) {
    case 'safetensors':
      return readSafetensors(path).tensors;
    case 'npz':
      return readNpz(path);
    case 'npy':
      return new Map([[arrayName(path), readNpy(path)]]);
    default: {
      const tensors = new Map<string, Tensor>();
      for (const { path: name, item } of leaves(readPth(path))) {
        if (item instanceof TorchParameter) tensors.set(name, item.data);
        else if (item instanceof TensorBase) tensors.set(name, item as Tensor);
      }
      return tensors;
    }
  }
}

function formatOf(path: string): 'pth' | 'safetensors' | 'npz' | 'npy' {
  return extname(path).toLowerCase() === '.npy' ? 'npy' : (tensorFormat(path) ?? 'pth');
}

function arrayName(path: string): string {
  return basename(path, extname(path));
}

function outlineOf(key: string, { dtype, shape, fortranOrder }: NpyHead): TensorOutline {
  const order = fortranOrder ? [...shape.keys()] : [...shape.keys()].reverse();
  const strides = Array<number>(shape.length).fill(0);
  let step = 1;
  for (const dim of order) {
    strides[dim] = step;
    step *= Math.max(1, shape[dim]);
  }
  const bytes = shape.reduce((product, size) => product * size, storedBytes(dtype));
  return new TensorOutline(dtype, shape, strides, 0, { key, bytes });
}

function inspection(format: Inspection['format'], size: number, found: Iterable<Leaf>): Inspection {
  const tensors: InspectedTensor[] = [];
  const values: Inspection['values'] = [];
  const first = new Map<string, string>();
  for (const { path, item } of found) {
    if (!(item instanceof TensorOutline)) {
      values.push({ path, value: plain(item) });
      continue;
    }
    const { dtype, shape, strides, bytes, offset, storage } = item;
    const known = storage.bytes > 0 ? first.get(storage.key) : undefined;
    if (known === undefined) first.set(storage.key, path);
    tensors.push({
      path,
      dtype,
      shape,
      strides,
      bytes,
      storage: { key: storage.key, bytes: storage.bytes, offset },
      sharesWith: known ?? null,
    });
  }
  return { format, size, tensors, values };
}

/** Deeper than any checkpoint; a file made to be deep is cut there. */
const DEEPEST = 64;

/** All that is no container, in order, with the way to it. Containers that come again are named once. */
function* leaves(root: PyValue): Generator<Leaf> {
  const seen = new Map<unknown, string>();
  const open: { path: string; item: unknown; depth: number }[] = [{ path: '', item: root, depth: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { path, item, depth } = next;
    const inside = entries(item);
    if (inside === undefined) {
      yield { path: path === '' ? 'value' : path, item };
      continue;
    }
    const before = seen.get(item);
    if (before !== undefined || depth === DEEPEST) {
      yield { path, item: before === undefined ? '(deeper)' : `(the same as ${before})` };
      continue;
    }
    seen.set(item, path);
    for (let i = inside.length - 1; i >= 0; i--) {
      const [key, value] = inside[i];
      open.push({ path: path === '' ? key : `${path}/${key}`, item: value, depth: depth + 1 });
    }
  }
}

/** What a container holds; undefined for anything else, and for short rows of plain values, which read better whole. */
function entries(item: unknown): [string, unknown][] | undefined {
  if (item instanceof Namespace) return [...item.entries];
  if (item instanceof Map) return [...item].map(([key, value]) => [keyText(key), value]);
  const items = item instanceof PyTuple ? item.items : item instanceof Set ? [...item] : item;
  if (!Array.isArray(items) || (items.length <= MOST_IN_A_ROW && items.every(isPlain))) return undefined;
  return items.map((value, i) => [String(i), value]);
}

const MOST_IN_A_ROW = 4096;

function isPlain(item: unknown): boolean {
  return item === null || typeof item !== 'object' || item instanceof PyFloat || item instanceof NumpyScalar;
}

function keyText(key: unknown): string {
  return typeof key === 'string' ? key : String(plain(key));
}

function plain(item: unknown): PlainValue {
  if (item === null || typeof item === 'boolean' || typeof item === 'string') return item;
  if (typeof item === 'number') return item;
  if (typeof item === 'bigint') return String(item);
  if (item instanceof PyFloat) return Number.isFinite(item.value) ? item.value : String(item.value);
  if (item instanceof NumpyScalar) {
    const { value } = item;
    return typeof value === 'bigint'
      ? String(value)
      : plain(typeof value === 'number' ? new PyFloat(value) : value);
  }
  if (item instanceof PyComplex)
    return `${item.real}${item.imaginary < 0 ? '-' : '+'}${Math.abs(item.imaginary)}j`;
  if (item instanceof PyDType) return `torch.${item.dtype}`;
  if (item instanceof PySize) return `[${item.dims.join(', ')}]`;
  if (item instanceof NumpyArray) return `numpy array of ${item.dtype} [${item.shape.join(', ')}]`;
  if (item instanceof Uint8Array) return `${item.length} bytes`;
  if (item instanceof PyTuple) return `(${item.items.map(rowText).join(', ')})`;
  if (item instanceof Set) return `{${[...item].map(rowText).join(', ')}}`;
  if (Array.isArray(item)) return `[${item.map(rowText).join(', ')}]`;
  return 'a value of another kind';
}

function rowText(item: unknown): string {
  return typeof item === 'string' ? JSON.stringify(item) : String(plain(item));
}
