/** A block of memory of a checkpoint, the names of its types, and the tensors that look into it. */

import { bytesOf, type DType, fromBuffer, type Tensor } from '../torch/index.js';
import { type ForeignDType, foreign, foreignDTypes, widen } from './foreign-dtypes.js';
import { Global, Intermediate } from './pickle-items.js';

/** PyTorch's typed storages. */
export const STORAGE_TYPES: Readonly<Record<string, DType>> = {
  FloatStorage: 'float32',
  DoubleStorage: 'float64',
  HalfStorage: 'float16',
  BFloat16Storage: 'bfloat16',
  LongStorage: 'int64',
  IntStorage: 'int32',
  ShortStorage: 'int16',
  CharStorage: 'int8',
  ByteStorage: 'uint8',
  BoolStorage: 'bool',
  ComplexFloatStorage: 'complex64',
  ComplexDoubleStorage: 'complex128',
};

/** A storage of bytes, whose tensors say themselves what they are made of. */
export const UNTYPED_STORAGE = 'UntypedStorage';

/** A dtype as files name it. */
export type StoredDType = DType | ForeignDType;

/** `torch.float32` and its like, under all their names. */
export const TORCH_DTYPES: Readonly<Record<string, StoredDType>> = {
  half: 'float16',
  float: 'float32',
  double: 'float64',
  short: 'int16',
  int: 'int32',
  long: 'int64',
  chalf: 'complex32',
  cfloat: 'complex64',
  cdouble: 'complex128',
  ...Object.fromEntries(Object.values(STORAGE_TYPES).map((dtype) => [dtype, dtype])),
  ...Object.fromEntries(foreignDTypes.map((dtype) => [dtype, dtype])),
};

/** Bytes of one element in the file. */
export function storedBytes(dtype: StoredDType): number {
  return foreign(dtype)?.bytes ?? bytesOf(dtype as DType);
}

/** `torch.FloatStorage` and its like; only its dtype matters. */
export class StorageType extends Global {
  constructor(
    name: string,
    readonly dtype: DType,
    /** whether its length counts bytes, and its tensors bring their own dtype */
    readonly untyped = false,
  ) {
    super(name);
  }
}

/** A dtype stands for itself; it is turned into a `PyDType` when the file is read through. */
export class DTypeName extends Global {
  constructor(
    name: string,
    readonly dtype: StoredDType,
  ) {
    super(name);
  }
}

/** The memory of one key; typed looks into it share it, and it is read once, when the first of them is opened. */
export class StorageMemory {
  private memory: ArrayBuffer | undefined;
  private readonly rows = new Map<StoredDType, Tensor>();

  constructor(
    readonly key: string,
    readonly bytes: number,
    private readonly load: () => ArrayBuffer,
    private readonly source: string,
  ) {}

  /** All elements in one row, `bytes` divided by the size of one. */
  row(dtype: StoredDType): Tensor {
    const known = this.rows.get(dtype);
    if (known !== undefined) return known;
    this.memory ??= this.load();
    const count = Math.floor(this.bytes / storedBytes(dtype));
    const row =
      foreign(dtype) === undefined
        ? fromBuffer(this.memory, { shape: [count], dtype: dtype as DType })
        : widen(dtype as ForeignDType, this.memory.slice(0, count * storedBytes(dtype)), this.source);
    this.rows.set(dtype, row);
    return row;
  }

  /** Lets go of the rows; tensors that look into them keep the memory. */
  release(): void {
    for (const row of this.rows.values()) row.dispose();
    this.rows.clear();
    this.memory = undefined;
  }
}

/** What a pickle's persistent id stands for: a typed look into a memory. */
export class Storage extends Intermediate {
  constructor(
    readonly memory: StorageMemory,
    readonly type: StorageType,
    /** elements of its type */
    readonly numel: number,
    /** elements of the memory before it, in an old file whose storage is itself a view */
    readonly offset = 0,
  ) {
    super();
  }
}

/** Where a tensor lies; all figures have been checked against the storage. */
export interface TensorPlace {
  readonly storage: Storage;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  /** elements from the beginning of the memory */
  readonly offset: number;
}

/** A tensor of which all is known but its values, so that a file can be looked through without reading weights. */
export class TensorOutline extends Intermediate {
  constructor(
    readonly dtype: StoredDType,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
    readonly offset: number,
    /** tensors of one key share memory */
    readonly storage: { readonly key: string; readonly bytes: number },
    readonly parameter = false,
  ) {
    super();
  }

  get numel(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  /** of its elements in the file */
  get bytes(): number {
    return this.numel * storedBytes(this.dtype);
  }
}

/** How tensors of a pickle come into being: with their values, or as outlines. */
export interface TensorMaker {
  tensor(place: TensorPlace): Tensor | TensorOutline;
}

export const withValues: TensorMaker = {
  tensor: ({ storage, dtype, shape, strides, offset }) =>
    storage.memory.row(dtype).asStrided(shape, strides, offset),
};

export const asOutlines: TensorMaker = {
  tensor: ({ storage: { memory }, dtype, shape, strides, offset }) =>
    new TensorOutline(dtype, shape, strides, offset, memory),
};
