/** The Python names that a checkpoint may use, and the data that each stands for. */

import { UserError } from '../errors.js';
import { type Tensor, TensorBase } from '../torch/index.js';
import { numpyArray, numpyScalar, numpyType } from './numpy-values.js';
import { Global, Malformed, malformed, type PickleItem } from './pickle-items.js';
import {
  DTypeName,
  STORAGE_TYPES,
  Storage,
  StorageType,
  type StoredDType,
  storedBytes,
  type TensorMaker,
  TensorOutline,
  TORCH_DTYPES,
  UNTYPED_STORAGE,
} from './storage.js';
import {
  Namespace,
  OrderedDict,
  PyComplex,
  PyFloat,
  PySize,
  PyTuple,
  type PyValue,
  TorchParameter,
} from './values.js';

type Construct = (args: readonly PickleItem[]) => PickleItem;

/** Functions for one file, whose name stands in the messages; `maker` says what tensors are to be. */
export function allowedGlobals(
  source: string,
  maker: TensorMaker,
): (module: string, name: string) => Global | null {
  const fail = (what: string): never => {
    throw new UserError('checkpoint', `${source} is not a sound checkpoint: it has ${what}.`);
  };
  const constructors = { ...PLAIN, ...tensorConstructors(maker) };
  return (module, name) => {
    const full = `${module}.${name}`;
    if (module === 'torch' || module === 'torch.storage') {
      if (name === UNTYPED_STORAGE) return new StorageType(full, 'uint8', true);
      if (Object.hasOwn(STORAGE_TYPES, name)) return new StorageType(full, STORAGE_TYPES[name]);
    }
    if (module === 'torch' && Object.hasOwn(TORCH_DTYPES, name))
      return new DTypeName(full, TORCH_DTYPES[name]);
    if (NAMES_ONLY.has(full)) return new Global(full);
    if (!Object.hasOwn(constructors, full)) return null;
    return new Global(full, (args) => {
      try {
        return constructors[full](args);
      } catch (error) {
        if (error instanceof Malformed) return fail(error.message);
        throw error;
      }
    });
  };
}

/** Python 2's and 3's name of a built-in type. */
function builtin(name: string, construct: Construct): Record<string, Construct> {
  return { [`builtins.${name}`]: construct, [`__builtin__.${name}`]: construct };
}

/** Types that are arguments of something else, and are never called. */
const NAMES_ONLY: ReadonlySet<string> = new Set([
  'numpy.ndarray',
  'torch.Tensor',
  'torch._tensor.Tensor',
  'torch.nn.parameter.Parameter',
  ...['int', 'long', 'float', 'str', 'bool'].flatMap((name) => [`builtins.${name}`, `__builtin__.${name}`]),
]);

const PLAIN: Readonly<Record<string, Construct>> = {
  'torch.Size': ([dims]) => new PySize(wholeNumbers(dims, 'a torch.Size')),
  'torch.device': (args) => args.map(String).join(':'),
  'torch.serialization._get_layout': ([name]) => textOf(name, 'a layout'),
  'collections.OrderedDict': ([items]) => {
    const dict = new OrderedDict();
    if (items === undefined) return dict;
    for (const pair of listOf(items, 'an OrderedDict of something else than a list')) {
      const [key, value] = pair instanceof PyTuple ? pair.items : Array.isArray(pair) ? pair : [];
      if (key === undefined || value === undefined) throw malformed('an OrderedDict with half a pair');
      dict.set(key, value);
    }
    return dict;
  },
  // what it makes of missing keys is a program; what is in it follows
  'collections.defaultdict': () => new Map(),
  'collections.Counter': ([counts]) => {
    if (counts !== undefined && !(counts instanceof Map)) throw malformed('a Counter without counts');
    return new Map(counts);
  },
  'collections.deque': ([items]) => (items === undefined ? [] : [...listOf(items, 'a deque without items')]),
  'argparse.Namespace': () => new Namespace(),
  'types.SimpleNamespace': () => new Namespace(),
  'pathlib.PosixPath': (parts) => parts.map(String).join('/').replace(/^\/\//, '/'),
  '_codecs.encode': ([text, encoding]) => {
    if (encoding !== 'latin1') throw malformed('bytes in an unknown encoding');
    return new Uint8Array(Buffer.from(textOf(text, 'bytes'), 'latin1'));
  },
  ...builtin('set', ([items]) => new Set(items === undefined ? [] : listOf(items, 'a set without items'))),
  ...builtin(
    'frozenset',
    ([items]) => new Set(items === undefined ? [] : listOf(items, 'a set without items')),
  ),
  ...builtin('list', () => []),
  ...builtin('dict', () => new Map()),
  ...builtin('bytearray', ([content, encoding]) => {
    if (content === undefined) return new Uint8Array();
    if (content instanceof Uint8Array) return content.slice();
    if (encoding !== 'latin-1') throw malformed('bytes in an unknown encoding');
    return new Uint8Array(Buffer.from(textOf(content, 'bytes'), 'latin1'));
  }),
  ...builtin('complex', ([real, imaginary]) => {
    if (!(real instanceof PyFloat) || !(imaginary instanceof PyFloat))
      throw malformed('a complex number of something else than two floats');
    return new PyComplex(real.value, imaginary.value);
  }),
  'numpy.dtype': numpyType,
  'numpy.core.multiarray.scalar': numpyScalar,
  'numpy._core.multiarray.scalar': numpyScalar,
  'numpy.core.multiarray._reconstruct': numpyArray,
  'numpy._core.multiarray._reconstruct': numpyArray,
};

function tensorConstructors(maker: TensorMaker): Readonly<Record<string, Construct>> {
  const typed: Construct = ([storage, offset, size, stride, , , flags]) => {
    plainView(flags);
    const from = storageOf(storage);
    if (from.type.untyped) throw malformed('a tensor without a dtype');
    return maker.tensor(placed(from, from.type.dtype, offset, size, stride));
  };
  const untyped: Construct = ([storage, offset, size, stride, , , dtype, flags]) => {
    plainView(flags);
    if (!(dtype instanceof DTypeName)) throw malformed('a tensor without a dtype');
    return maker.tensor(placed(storageOf(storage), dtype.dtype, offset, size, stride));
  };
  const parameter: Construct = ([data, requiresGrad]) => {
    if (data instanceof TensorOutline)
      return new TensorOutline(data.dtype, data.shape, data.strides, data.offset, data.storage, true);
    if (!(data instanceof TensorBase)) throw malformed('a parameter without a tensor');
    return new TorchParameter(data as Tensor, requiresGrad === true);
  };
  return {
    'torch._utils._rebuild_tensor': typed,
    'torch._utils._rebuild_tensor_v2': typed,
    'torch._utils._rebuild_tensor_v3': untyped,
    'torch._utils._rebuild_parameter': parameter,
    'torch._utils._rebuild_parameter_with_state': parameter,
    // (function, class, arguments, attributes): the class is one of our names, the attributes are left
    'torch._tensor._rebuild_from_type_v2': ([rebuild, , args]) => {
      if (!(rebuild instanceof Global) || rebuild.construct === undefined || !(args instanceof PyTuple))
        throw malformed('a tensor that nothing makes');
      return rebuild.construct(args.items);
    },
  };
}

/** Newer files mark views that conjugate or negate when they are looked at; their elements are not the values. */
function plainView(flags: PickleItem | undefined): void {
  const marked = ['conj', 'neg'].find((name) => flags instanceof Map && flags.get(name) === true);
  if (marked !== undefined)
    throw malformed(`a tensor with the ${marked} bit; save it after resolve_${marked}()`);
}

function storageOf(value: PickleItem | undefined): Storage {
  if (value instanceof Storage) return value;
  throw malformed('a tensor without a storage');
}

/** The place of a tensor, after every figure was checked against its storage. */
function placed(
  storage: Storage,
  dtype: StoredDType,
  offset: PickleItem | undefined,
  size: PickleItem | undefined,
  stride: PickleItem | undefined,
): Parameters<TensorMaker['tensor']>[0] {
  const shape = wholeNumbers(size, "a tensor's shape");
  const strides = wholeNumbers(stride, "a tensor's strides");
  if (typeof offset !== 'number' || offset < 0) throw malformed("a tensor's offset that is no position");
  if (shape.length !== strides.length)
    throw malformed('a tensor that has not as many strides as it has dimensions');
  if (shape.length > MOST_DIMENSIONS) throw malformed(`a tensor of ${shape.length} dimensions`);
  const width = storedBytes(dtype);
  // sizes beside a size of 0 count too: libtorch multiplies them all
  const extent = shape.reduce((product, length) => product * Math.max(1, length), width);
  if (!Number.isSafeInteger(extent)) throw malformed('a tensor of more elements than can be');
  const isEmpty = shape.includes(0);
  const count = storage.type.untyped ? Math.floor(storage.numel / width) : storage.numel;
  const reach = shape.reduce((sum, length, i) => sum + (length - 1) * strides[i], offset);
  if (!Number.isSafeInteger(reach) || (isEmpty ? offset > count : reach >= count))
    throw malformed(`a tensor [${shape.join(', ')}] that reaches element ${reach} of a storage of ${count}`);
  return { storage, dtype, shape, strides, offset: offset + storage.offset };
}

/** More than any tensor of PyTorch's functions can have. */
const MOST_DIMENSIONS = 64;

function textOf(value: PickleItem | undefined, what: string): string {
  if (typeof value === 'string') return value;
  throw malformed(`${what} that is no text`);
}

function listOf(value: PickleItem, what: string): readonly PyValue[] {
  const items = value instanceof PyTuple ? value.items : value;
  if (Array.isArray(items)) return items as readonly PyValue[];
  throw malformed(what);
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
