/** Writes `.pth` files in PyTorch's zip format, from names and opcodes that also its restricted reader accepts. */

import { writeAtomic } from '../files.js';
import { bytesOf, type DType, noGrad, scope, type Tensor, TensorBase } from '../torch/index.js';
import { ArchiveWriter } from './archive.js';
import { halfBits, numpyBytes, numpyCode } from './numpy-values.js';
import { STORAGE_TYPES } from './storage.js';
import {
  Namespace,
  NumpyArray,
  type NumpyDType,
  NumpyScalar,
  OrderedDict,
  PyComplex,
  PyDType,
  PyFloat,
  PySize,
  PyTuple,
  type PyValue,
  TorchParameter,
} from './values.js';

/** Writes `value` as `torch.save` would. The file is in place only when it is whole; memory stays shared. */
export function writePth(path: string, value: PyValue): void {
  const pickler = new Pickler();
  const pickle = pickler.pickle(value);
  writeAtomic(path, (append) => {
    const archive = new ArchiveWriter(append);
    archive.add('archive/data.pkl', pickle);
    archive.add('archive/byteorder', Buffer.from('little'));
    for (const [key, { bytes, pieces }] of pickler.storages.entries())
      archive.addPieces(`archive/data/${key}`, bytes, pieces);
    archive.add('archive/version', Buffer.from('3\n'));
    archive.finish();
  });
}

/** Protocol 2. */
class Pickler {
  /** by key: the bytes of a storage, made when they are written */
  readonly storages: { bytes: number; pieces: () => Iterable<Uint8Array> }[] = [];
  private readonly storageKeys = new Map<string, number>();
  /** what was written before, and under which number it is recalled */
  private readonly memo = new Map<unknown, number>();
  /** one object for each name, to stand for it in the memo */
  private readonly globals = new Map<string, object>();
  private readonly out = new Bytes();

  pickle(value: PyValue): Uint8Array {
    this.out.byte(0x80, 2);
    this.write(value);
    this.out.ascii('.');
    return this.out.take();
  }

  private write(value: PyValue): void {
    const { out } = this;
    if (value === null) out.ascii('N');
    else if (typeof value === 'boolean') out.byte(value ? 0x88 : 0x89);
    else if (typeof value === 'number') this.number(value);
    else if (typeof value === 'bigint') this.long(value);
    else if (typeof value === 'string') this.string(value);
    else if (value instanceof PyFloat) this.float(value.value);
    else if (value instanceof TensorBase) this.tensor(value as Tensor);
    else this.object(value);
  }

  private number(value: number): void {
    const { out } = this;
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) this.float(value);
    else if (value >= 0 && value < 0x100) out.byte(0x4b, value);
    else if (value >= -(2 ** 31) && value < 2 ** 31) {
      out.ascii('J');
      out.int32(value);
    } else this.long(BigInt(value));
  }

  private long(value: bigint): void {
    const digits: number[] = [];
    let rest = value;
    for (;;) {
      const digit = Number(BigInt.asUintN(8, rest));
      digits.push(digit);
      rest >>= 8n;
      if ((rest === 0n && digit < 0x80) || (rest === -1n && digit >= 0x80)) break;
    }
    if (digits.length < 0x100) {
      this.out.byte(0x8a, digits.length);
    } else {
      this.out.byte(0x8b);
      this.out.int32(digits.length);
    }
    this.out.bytes(Uint8Array.from(digits));
  }

  private float(value: number): void {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setFloat64(0, value, false);
    this.out.ascii('G');
    this.out.bytes(new Uint8Array(bytes.buffer));
  }

  private string(value: string): void {
    if (this.recall(value)) return;
    const bytes = Buffer.from(value, 'utf8');
    this.out.ascii('X');
    this.out.int32(bytes.byteLength);
    this.out.bytes(bytes);
    this.remember(value);
  }

  private object(
    value: Exclude<PyValue, null | boolean | number | bigint | string | PyFloat | Tensor>,
  ): void {
    const { out } = this;
    if (this.recall(value)) return;
    if (value instanceof Uint8Array) {
      this.call('_codecs', 'encode', [Buffer.from(value).toString('latin1'), 'latin1']);
    } else if (value instanceof PyTuple) {
      this.tuple(value.items);
    } else if (value instanceof PySize) {
      this.call('torch', 'Size', [new PyTuple(value.dims)]);
    } else if (value instanceof PyDType) {
      this.global('torch', value.dtype);
      return;
    } else if (value instanceof NumpyScalar) {
      this.numpyScalar(value);
    } else if (value instanceof TorchParameter) {
      this.call('torch._utils', '_rebuild_parameter', [value.data, value.requiresGrad, new OrderedDict()]);
    } else if (value instanceof Namespace) {
      this.global('argparse', 'Namespace');
      out.ascii(')\x81');
      this.remember(value);
      this.dict(new Map(value.entries));
      out.ascii('b');
      return;
    } else if (value instanceof OrderedDict) {
      this.global('collections', 'OrderedDict');
      out.ascii(')R');
      this.remember(value);
      this.items(value);
      if (value.attributes !== undefined) {
        this.dict(value.attributes);
        out.ascii('b');
      }
      return;
    } else if (value instanceof Map) {
      out.ascii('}');
      this.remember(value);
      this.items(value);
      return;
    } else if (value instanceof Set) {
      this.call('__builtin__', 'set', [[...value]]);
    } else if (value instanceof PyComplex) {
      this.call('__builtin__', 'complex', [new PyFloat(value.real), new PyFloat(value.imaginary)]);
    } else if (value instanceof NumpyArray) {
      this.numpyArray(value);
    } else {
      out.ascii(']');
      this.remember(value);
      out.ascii('(');
      for (const item of value) this.write(item);
      out.ascii('e');
      return;
    }
    this.remember(value);
  }

  private dict(map: ReadonlyMap<PyValue, PyValue>): void {
    this.out.ascii('}');
    this.items(map);
  }

  private items(map: ReadonlyMap<PyValue, PyValue>): void {
    if (map.size === 0) return;
    this.out.ascii('(');
    for (const [key, item] of map) {
      this.write(key);
      this.write(item);
    }
    this.out.ascii('u');
  }

  private tuple(items: readonly PyValue[]): void {
    const { out } = this;
    if (items.length === 0) {
      out.ascii(')');
      return;
    }
    if (items.length > 3) out.ascii('(');
    for (const item of items) this.write(item);
    out.byte([0x85, 0x86, 0x87][items.length - 1] ?? 0x74);
  }

  private call(module: string, name: string, args: readonly PyValue[]): void {
    this.global(module, name);
    this.tuple(args);
    this.out.ascii('R');
  }

  private global(module: string, name: string): void {
    const line = `c${module}\n${name}\n`;
    const known = this.globals.get(line) ?? {};
    if (this.recall(known)) return;
    this.globals.set(line, known);
    this.out.ascii(line);
    this.remember(known);
  }

  private numpyScalar({ dtype, value }: NumpyScalar): void {
    this.global('numpy.core.multiarray', 'scalar');
    this.numpyType(dtype);
    this.write(scalarBytes(dtype, value));
    this.out.byte(0x86);
    this.out.ascii('R');
  }

  private numpyType(dtype: NumpyDType): void {
    this.call('numpy', 'dtype', [numpyCode(dtype), false, true]);
    // the state of a dtype of native numbers: version, byte order, no fields, sizes by default
    this.tuple([3, numpyBytes(dtype) === 1 ? '|' : '<', null, null, null, -1, -1, 0]);
    this.out.ascii('b');
  }

  private numpyArray({ dtype, shape, fortranOrder, bytes }: NumpyArray): void {
    const { out } = this;
    this.global('numpy.core.multiarray', '_reconstruct');
    this.global('numpy', 'ndarray');
    this.tuple([0]);
    this.write(Uint8Array.of(0x62));
    out.byte(0x87);
    out.ascii('R(');
    this.write(1);
    this.tuple(shape);
    this.numpyType(dtype);
    this.write(fortranOrder);
    this.write(bytes);
    out.ascii('tb');
  }

  private tensor(value: Tensor): void {
    const { out } = this;
    const { dtype } = value;
    this.global('torch._utils', '_rebuild_tensor_v2');
    out.ascii('(');
    const { identity, offset, bytes } = value.storage;
    const numel = Math.floor(bytes / bytesOf(dtype));
    const place = `${value.device} ${identity} ${dtype}`;
    // empty storages all lie at address 0, yet are not one
    let key = numel === 0 ? undefined : this.storageKeys.get(place);
    if (key === undefined) {
      key =
        this.storages.push({
          bytes: numel * bytesOf(dtype),
          pieces: () => storagePieces(value, numel),
        }) - 1;
      this.storageKeys.set(place, key);
    }
    out.ascii('(');
    this.string('storage');
    this.global('torch', storageName(dtype));
    this.string(String(key));
    this.string('cpu');
    this.number(numel);
    out.ascii('tQ');
    this.number(offset);
    this.tuple(value.shape);
    this.tuple(value.strides);
    this.write(false);
    this.global('collections', 'OrderedDict');
    out.ascii(')RtR');
  }

  private recall(value: unknown): boolean {
    const index = this.memo.get(value);
    if (index === undefined) return false;
    if (index < 0x100) this.out.byte(0x68, index);
    else {
      this.out.ascii('j');
      this.out.int32(index);
    }
    return true;
  }

  private remember(value: unknown): void {
    const index = this.memo.size;
    this.memo.set(value, index);
    if (index < 0x100) this.out.byte(0x71, index);
    else {
      this.out.ascii('r');
      this.out.int32(index);
    }
  }
}

/** Elements that are copied at a time: a storage may be larger than the memory that is left. */
const PIECE = 1 << 24;

/** The first `numel` elements of the storage that `value` looks into. */
function* storagePieces(value: Tensor, numel: number): Generator<Uint8Array> {
  for (let start = 0; start < numel; start += PIECE) {
    const count = Math.min(PIECE, numel - start);
    yield scope(() =>
      noGrad(() => value.detach().asStrided([count], [1], start).to({ device: 'cpu' }).bytes()),
    );
  }
}

function storageName(dtype: DType): string {
  const found = Object.entries(STORAGE_TYPES).find(([, own]) => own === dtype);
  if (found === undefined) throw new TypeError(`tensors of ${dtype} are not written to checkpoints`);
  return found[0];
}

function scalarBytes(dtype: NumpyDType, value: NumpyScalar['value']): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  const number = Number(value);
  switch (dtype) {
    case 'float64':
      view.setFloat64(0, number, true);
      break;
    case 'float32':
      view.setFloat32(0, number, true);
      break;
    case 'float16':
      view.setUint16(0, halfBits(number), true);
      break;
    case 'int64':
    case 'uint64':
      view.setBigInt64(0, BigInt.asIntN(64, BigInt(value)), true);
      break;
    default:
      // the low bytes of two's complement, signed or not
      view.setInt32(0, number | 0, true);
  }
  return new Uint8Array(view.buffer, 0, numpyBytes(dtype));
}

/** A growing row of bytes. */
class Bytes {
  private memory = new Uint8Array(1 << 16);
  private length = 0;

  byte(...values: number[]): void {
    this.bytes(Uint8Array.from(values));
  }

  /** Text whose characters are single bytes. */
  ascii(text: string): void {
    this.bytes(Buffer.from(text, 'latin1'));
  }

  int32(value: number): void {
    const bytes = new DataView(new ArrayBuffer(4));
    bytes.setInt32(0, value, true);
    this.bytes(new Uint8Array(bytes.buffer));
  }

  bytes(values: Uint8Array): void {
    if (this.length + values.byteLength > this.memory.byteLength) {
      const larger = new Uint8Array(Math.max(this.memory.byteLength * 2, this.length + values.byteLength));
      larger.set(this.memory.subarray(0, this.length));
      this.memory = larger;
    }
    this.memory.set(values, this.length);
    this.length += values.byteLength;
  }

  take(): Uint8Array {
    return this.memory.subarray(0, this.length);
  }
}
