/** The Python names that a checkpoint may use, and the data that each stands for. */

import { UserError } from '../errors.js';
import { bytesOf, type DType, type Tensor, TensorBase } from '../torch/index.js';
import { BuildTarget, Global, Intermediate, type PickleItem } from './unpickle.js';
import {
  Namespace,
  type NumpyDType,
  NumpyScalar,
  OrderedDict,
  PyFloat,
  PySize,
  PyTuple,
  type PyValue,
  TorchParameter,
} from './values.js';

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

const TORCH_DTYPES: Readonly<Record<string, DType>> = {
  half: 'float16',
  float: 'float32',
  double: 'float64',
  short: 'int16',
  int: 'int32',
  long: 'int64',
  ...Object.fromEntries(Object.values(STORAGE_TYPES).map((dtype) => [dtype, dtype])),
};

const NUMPY_CODES: Readonly<Record<string, NumpyDType>> = {
  f8: 'float64',
  f4: 'float32',
  f2: 'float16',
  i8: 'int64',
  i4: 'int32',
  i2: 'int16',
  i1: 'int8',
  u1: 'uint8',
  b1: 'bool',
};

/** The code that numpy pickles for a dtype. */
export function numpyCode(dtype: NumpyDType): string {
  const found = Object.entries(NUMPY_CODES).find(([, name]) => name === dtype);
  return found === undefined ? dtype : found[0];
}

/** One block of memory of the file; `open` gives its elements as one row. */
export class Storage extends Intermediate {
  private row: Tensor | undefined;

  constructor(
    readonly dtype: DType,
    readonly numel: number,
    private readonly open: () => Tensor,
    /** elements of an old file's storage that is itself a view */
    readonly offset = 0,
  ) {
    super();
  }

  get elements(): Tensor {
    this.row ??= this.open();
    return this.row;
  }

  release(): void {
    this.row?.dispose();
  }
}

class NumpyTypeObject extends BuildTarget {
  constructor(readonly dtype: NumpyDType) {
    super();
  }

  /** The state repeats the byte order, which may be big-endian. */
  build(state: PickleItem): string | undefined {
    return state instanceof PyTuple && state.items[1] === '>' ? 'a big-endian numpy number' : undefined;
  }
}

/** Functions for one file, whose name stands in the messages. */
export function allowedGlobals(source: string): (module: string, name: string) => Global | null {
  const fail = (what: string): never => {
    throw new UserError('checkpoint', `${source} is not a sound checkpoint: it has ${what}.`);
  };
  const guarded = (full: string, construct: (args: readonly PickleItem[]) => PickleItem): Global =>
    new Global(full, (args) => {
      try {
        return construct(args);
      } catch (error) {
        if (error instanceof Malformed) return fail(error.message);
        throw error;
      }
    });
  return (module, name) => {
    if (module === 'torch' || module === 'torch.storage') {
      const dtype = STORAGE_TYPES[name];
      if (dtype !== undefined && Object.hasOwn(STORAGE_TYPES, name)) return new StorageType(name, dtype);
    }
    if (module === 'torch' && Object.hasOwn(TORCH_DTYPES, name))
      return new DTypeName(`torch.${name}`, TORCH_DTYPES[name]);
    const full = `${module}.${name}`;
    return Object.hasOwn(CONSTRUCTORS, full) ? guarded(full, CONSTRUCTORS[full]) : null;
  };
}

/** `torch.FloatStorage` and its like; only its dtype matters. */
export class StorageType extends Global {
  constructor(
    name: string,
    readonly dtype: DType,
  ) {
    super(name);
  }
}

/** A dtype stands for itself; it is turned into a `PyDType` when the file is read through. */
export class DTypeName extends Global {
  constructor(
    name: string,
    readonly dtype: DType,
  ) {
    super(name);
  }
}

class Malformed extends Error {}

function malformed(what: string): Error {
  return new Malformed(what);
}

const CONSTRUCTORS: Readonly<Record<string, (args: readonly PickleItem[]) => PickleItem>> = {
  'torch._utils._rebuild_tensor_v2': rebuildTensor,
  'torch._utils._rebuild_tensor': rebuildTensor,
  'torch._utils._rebuild_parameter': ([data, requiresGrad]) => {
    if (!(data instanceof TensorBase)) throw malformed('a parameter without a tensor');
    return new TorchParameter(data as Tensor, requiresGrad === true);
  },
  'torch.Size': ([dims]) => new PySize(wholeNumbers(dims, 'a torch.Size')),
  'torch.device': (args) => args.map(String).join(':'),
  'collections.OrderedDict': ([items]) => {
    const dict = new OrderedDict();
    if (items === undefined) return dict;
    if (!Array.isArray(items)) throw malformed('an OrderedDict of something else than a list');
    for (const pair of items) {
      const [key, value] = pair instanceof PyTuple ? pair.items : Array.isArray(pair) ? pair : [];
      if (key === undefined || value === undefined) throw malformed('an OrderedDict with half a pair');
      dict.set(key, value);
    }
    return dict;
  },
  'argparse.Namespace': () => new Namespace(),
  'pathlib.PosixPath': (parts) => parts.map(String).join('/').replace(/^\/\//, '/'),
  '_codecs.encode': ([text, encoding]) => {
    if (typeof text !== 'string' || encoding !== 'latin1') throw malformed('bytes in an unknown encoding');
    return new Uint8Array(Buffer.from(text, 'latin1'));
  },
  'numpy.dtype': ([code]) => {
    if (typeof code !== 'string' || !Object.hasOwn(NUMPY_CODES, code))
      throw malformed(`a numpy number of type ${String(code)}`);
    return new NumpyTypeObject(NUMPY_CODES[code]);
  },
  'numpy.core.multiarray.scalar': numpyScalar,
  'numpy._core.multiarray.scalar': numpyScalar,
};

function numpyScalar([type, bytes]: readonly PickleItem[]): NumpyScalar {
  if (!(type instanceof NumpyTypeObject) || !(bytes instanceof Uint8Array))
    throw malformed('a numpy number without type or bytes');
  const { dtype } = type;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    switch (dtype) {
      case 'float64':
        return new NumpyScalar(dtype, view.getFloat64(0, true));
      case 'float32':
        return new NumpyScalar(dtype, view.getFloat32(0, true));
      case 'int64':
        return new NumpyScalar(dtype, view.getBigInt64(0, true));
      case 'int32':
        return new NumpyScalar(dtype, view.getInt32(0, true));
      case 'int16':
        return new NumpyScalar(dtype, view.getInt16(0, true));
      case 'int8':
        return new NumpyScalar(dtype, view.getInt8(0));
      case 'uint8':
        return new NumpyScalar(dtype, view.getUint8(0));
      case 'bool':
        return new NumpyScalar(dtype, view.getUint8(0) !== 0);
      default:
        throw malformed(`a numpy number of type ${dtype}`);
    }
  } catch (error) {
    throw error instanceof RangeError ? malformed('a numpy number with too few bytes') : error;
  }
}

/** A view of a storage, after every figure was checked against it. */
function rebuildTensor([storage, offset, size, stride]: readonly PickleItem[]): Tensor {
  if (!(storage instanceof Storage)) throw malformed('a tensor without a storage');
  const shape = wholeNumbers(size, "a tensor's shape");
  const steps = wholeNumbers(stride, "a tensor's strides");
  if (typeof offset !== 'number' || offset < 0) throw malformed("a tensor's offset that is no position");
  if (shape.length !== steps.length) throw malformed('a tensor with as many strides as it has no dimensions');
  const numel = shape.reduce((product, length) => product * length, 1);
  const { dtype } = storage;
  // sizes beside a size of 0 count too: libtorch multiplies them all
  const extent = shape.reduce((product, length) => product * Math.max(1, length), bytesOf(dtype));
  if (!Number.isSafeInteger(extent)) throw malformed('a tensor of more elements than can be');
  const reach = shape.reduce((sum, length, i) => sum + (length - 1) * steps[i], offset);
  if (numel > 0 ? reach >= storage.numel : offset > storage.numel)
    throw malformed(
      `a tensor [${shape.join(', ')}] that reaches element ${reach} of a storage of ${storage.numel}`,
    );
  return storage.elements.asStrided(shape, steps, offset + storage.offset);
}

function wholeNumbers(value: PickleItem | undefined, what: string): number[] {
  const items = value instanceof PyTuple ? value.items : value instanceof PySize ? value.dims : value;
  if (!Array.isArray(items)) throw malformed(`${what} that is no tuple`);
  return (items as readonly PyValue[]).map((item) => {
    const number = item instanceof PyFloat ? undefined : item;
    if (typeof number !== 'number' || number < 0) throw malformed(`${what} with the entry ${String(number)}`);
    return number;
  });
}
