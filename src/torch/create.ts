/** Tensors from JavaScript's numbers and memory. */

import { native } from './binding.js';
import { allocate, bytesOf, type Device, type DType, dtypeOfArray, type TypedArray } from './dtype.js';
import { Tensor } from './ops.gen.js';

/** Numbers, or arrays of them of one shape. */
export type Nested = number | bigint | boolean | readonly Nested[];

/**
 * A tensor that holds a copy of `data`: a typed array (its own dtype, else converted), or nested arrays of
 * numbers (float32 unless told otherwise). `shape` defaults to the data's own.
 */
export function tensor(
  data: Nested | ArrayBufferView,
  options: { shape?: readonly number[]; dtype?: DType; device?: Device } = {},
): Tensor {
  const isView = ArrayBuffer.isView(data);
  const own = isView ? dtypeOfArray(data) : sourceDtype(options.dtype);
  const array = isView ? (data as TypedArray) : fromNested(data, own);
  const shape = options.shape ?? (isView ? [array.length] : shapeOf(data));
  using view = new Tensor(native.fromMemory(array, shape, own));
  // On its way to a GPU ordinary memory is read before the call returns; only what the GPU does is not waited for.
  return view.to({
    dtype: options.dtype ?? own,
    device: options.device ?? 'cpu',
    copy: true,
    nonBlocking: true,
  });
}

/**
 * A tensor that looks into `memory` itself, without a copy: what one writes, the other sees. A
 * SharedArrayBuffer's memory is the same in all threads. `memory` is kept alive by the tensor.
 */
export function fromBuffer(
  memory: ArrayBufferLike,
  options: { shape: readonly number[]; dtype: DType; byteOffset?: number },
): Tensor {
  const count = options.shape.reduce((product, size) => product * size, 1);
  const width = bytesOf(options.dtype);
  const offset = options.byteOffset ?? 0;
  // Some versions of Node refuse arrays of more than 2^32 elements, so large memory is looked at in wider ones.
  const view =
    count * width < 2 ** 32 || width === 1
      ? new Uint8Array(memory, offset, count * width)
      : width === 2
        ? new Uint16Array(memory, offset, count)
        : new Float32Array(memory, offset, (count * width) / 4);
  return new Tensor(native.fromMemory(view, options.shape, options.dtype));
}

/** A dtype that JavaScript can write; others are converted by libtorch. */
function sourceDtype(wanted: DType | undefined): DType {
  if (wanted === undefined || wanted === 'float16' || wanted === 'bfloat16') return 'float32';
  return wanted;
}

function shapeOf(data: Nested): number[] {
  const shape: number[] = [];
  for (let level: Nested = data; Array.isArray(level); level = level[0] as Nested) {
    shape.push(level.length);
    if (level.length === 0) break;
  }
  return shape;
}

function fromNested(data: Nested, dtype: DType): TypedArray {
  const shape = shapeOf(data);
  const count = shape.reduce((product, size) => product * size, 1);
  const array = allocate(dtype, count);
  let next = 0;
  const walk = (level: Nested, depth: number): void => {
    if (Array.isArray(level)) {
      if (level.length !== shape[depth])
        throw new TypeError(
          `ragged array: expected ${shape[depth]} items at depth ${depth}, received ${level.length}`,
        );
      for (const item of level) walk(item, depth + 1);
    } else if (array instanceof BigInt64Array) {
      array[next++] = BigInt(level as number | bigint | boolean);
    } else {
      array[next++] = Number(level);
    }
  };
  walk(data, 0);
  return array;
}
