/** Python values that a checkpoint may hold, as TypeScript sees them: data only, never behaviour. */

import type { Tensor } from '../torch/index.js';
import type { StoredDType } from './storage.js';

/**
 * Whole Python numbers are `number` (or `bigint` beyond 2^53), floats are `PyFloat`: the two stay apart, so
 * that what is written back is what was read. Dicts are `Map`s, lists are arrays.
 */
export type PyValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PyFloat
  | PyTuple
  | PySize
  | PyDType
  | NumpyScalar
  | NumpyArray
  | PyComplex
  | Namespace
  | Tensor
  | TorchParameter
  | Set<PyValue>
  | PyValue[]
  | Map<PyValue, PyValue>;

export class PyFloat {
  constructor(readonly value: number) {}
}

export class PyComplex {
  constructor(
    readonly real: number,
    readonly imaginary: number,
  ) {}
}

export class PyTuple {
  constructor(readonly items: readonly PyValue[]) {}
}

/** `torch.Size` */
export class PySize {
  constructor(readonly dims: readonly number[]) {}
}

/** `torch.float32` and its like */
export class PyDType {
  constructor(readonly dtype: StoredDType) {}
}

export type NumpyDType =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint64'
  | 'uint32'
  | 'uint16'
  | 'uint8'
  | 'bool';

/** A number of a numpy type, as schedules leave them in optimizer states. */
export class NumpyScalar {
  constructor(
    readonly dtype: NumpyDType,
    readonly value: number | bigint | boolean,
  ) {}
}

/** An array of numpy's, its elements as they lie in the file. */
export class NumpyArray {
  constructor(
    readonly dtype: NumpyDType,
    readonly shape: readonly number[],
    /** whether the first index runs fastest */
    readonly fortranOrder: boolean,
    readonly bytes: Uint8Array,
  ) {}
}

/** `collections.OrderedDict`; `attributes` holds what its `__dict__` held, e.g. `_metadata`. */
export class OrderedDict extends Map<PyValue, PyValue> {
  attributes: Map<PyValue, PyValue> | undefined;
}

/** `argparse.Namespace`, and `types.SimpleNamespace`, which is the same in all but name */
export class Namespace {
  readonly entries = new Map<string, PyValue>();
}

/** `torch.nn.Parameter` that was pickled as such; its tensor does not require a gradient until asked to. */
export class TorchParameter {
  constructor(
    readonly data: Tensor,
    readonly requiresGrad: boolean,
  ) {}
}

/** The number that a value stands for, or undefined. */
export function numberOf(value: PyValue | undefined): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof PyFloat) return value.value;
  if (value instanceof NumpyScalar) return Number(value.value);
  return undefined;
}

/** The entry of a dict, an `OrderedDict` or a `Namespace`. */
export function entryOf(value: PyValue | undefined, key: string): PyValue | undefined {
  if (value instanceof Map) return value.get(key);
  if (value instanceof Namespace) return value.entries.get(key);
  return undefined;
}
