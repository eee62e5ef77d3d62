/** Numpy's numbers and arrays as pickles hold them, read as data. */

import { BuildTarget, malformed, type PickleItem } from './pickle-items.js';
import { NumpyArray, type NumpyDType, NumpyScalar, PyTuple } from './values.js';

const NUMPY_CODES: Readonly<Record<string, NumpyDType>> = {
  f8: 'float64',
  f4: 'float32',
  f2: 'float16',
  i8: 'int64',
  i4: 'int32',
  i2: 'int16',
  i1: 'int8',
  u8: 'uint64',
  u4: 'uint32',
  u2: 'uint16',
  u1: 'uint8',
  b1: 'bool',
};

/** The code that numpy pickles for a dtype. */
export function numpyCode(dtype: NumpyDType): string {
  return Object.keys(NUMPY_CODES).find((code) => NUMPY_CODES[code] === dtype) as string;
}

/** Bytes of one number. */
export function numpyBytes(dtype: NumpyDType): number {
  return Number(numpyCode(dtype).slice(1));
}

class NumpyTypeObject extends BuildTarget {
  constructor(
    /** undefined: texts of so many letters */
    readonly dtype: NumpyDType | undefined,
    readonly letters: number,
  ) {
    super();
  }

  /** The state repeats the byte order, which may be big-endian. */
  build(state: PickleItem): string | undefined {
    return state instanceof PyTuple && state.items[1] === '>' ? 'a big-endian numpy number' : undefined;
  }
}

/** `numpy.dtype('f8', False, True)` */
export function numpyType([code]: readonly PickleItem[]): PickleItem {
  if (typeof code !== 'string') throw malformed('a numpy type without a name');
  if (/^U\d{1,6}$/.test(code)) return new NumpyTypeObject(undefined, Number(code.slice(1)));
  if (!Object.hasOwn(NUMPY_CODES, code)) throw malformed(`a numpy number of type ${code}`);
  return new NumpyTypeObject(NUMPY_CODES[code], 0);
}

/** A number of numpy's, or a text of its own type, which is a Python text too. */
export function numpyScalar([type, bytes]: readonly PickleItem[]): PickleItem {
  if (!(type instanceof NumpyTypeObject) || !(bytes instanceof Uint8Array))
    throw malformed('a numpy number without type or bytes');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (type.dtype === undefined) {
    if (bytes.byteLength !== 4 * type.letters) throw malformed('a numpy text with too few bytes');
    const codes = Array.from({ length: type.letters }, (_, i) => view.getUint32(4 * i, true));
    if (codes.some((letter) => letter > 0x10ffff)) throw malformed('a numpy text of no letters');
    return codes.map((letter) => (letter === 0 ? '' : String.fromCodePoint(letter))).join('');
  }
  if (bytes.byteLength !== numpyBytes(type.dtype)) throw malformed('a numpy number with too few bytes');
  return new NumpyScalar(type.dtype, numberIn(view, type.dtype));
}

function numberIn(view: DataView, dtype: NumpyDType): number | bigint | boolean {
  switch (dtype) {
    case 'float64':
      return view.getFloat64(0, true);
    case 'float32':
      return view.getFloat32(0, true);
    case 'float16':
      return halfValue(view.getUint16(0, true));
    case 'int64':
      return view.getBigInt64(0, true);
    case 'uint64':
      return view.getBigUint64(0, true);
    case 'int32':
      return view.getInt32(0, true);
    case 'uint32':
      return view.getUint32(0, true);
    case 'int16':
      return view.getInt16(0, true);
    case 'uint16':
      return view.getUint16(0, true);
    case 'int8':
      return view.getInt8(0);
    case 'uint8':
      return view.getUint8(0);
    case 'bool':
      return view.getUint8(0) !== 0;
  }
}

/** The number that 16 bits of an IEEE half stand for. */
export function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -14 : sign * (1 + fraction) * 2 ** (exponent - 15);
}

/** The 16 bits of a number that an IEEE half holds exactly, as one that was read does. */
export function halfBits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | Math.round(size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size));
  return sign | ((exponent + 15) << 10) | Math.round((size / 2 ** exponent - 1) * 1024);
}

/** An array; its state says what is in it. */
class PickledArray extends NumpyArray {
  /** (version, shape, dtype, is in Fortran's order, bytes) */
  build(state: PickleItem): string | undefined {
    const [, shape, type, fortran, bytes] =
      state instanceof PyTuple ? (state.items as readonly PickleItem[]) : [];
    if (!(shape instanceof PyTuple) || !(type instanceof NumpyTypeObject) || !(bytes instanceof Uint8Array))
      return 'a numpy array without shape, type or bytes';
    const dims = shape.items.map((size) => (typeof size === 'number' ? size : Number.NaN));
    const { dtype } = type;
    if (dtype === undefined) return 'a numpy array of texts';
    if (!dims.every((size) => Number.isSafeInteger(size) && size >= 0)) return 'a numpy array without sizes';
    if (dims.reduce((product, size) => product * size, numpyBytes(dtype)) !== bytes.byteLength)
      return `a numpy array [${dims.join(', ')}] of ${bytes.byteLength} bytes`;
    Object.assign(this, { dtype, shape: dims, fortranOrder: fortran === true, bytes });
    return undefined;
  }
}

/** `numpy.core.multiarray._reconstruct(ndarray, (0,), b'b')`: an empty array, until its state comes. */
export function numpyArray(): PickleItem {
  return new PickledArray('int8', [0], false, new Uint8Array());
}
