/** What a tensor is beside its operators: identity, shape, data, gradient, lifetime. */

import { type Handle, native } from './binding.js';
import { allocate, bytesOf, type Device, type DType, type TypedArray } from './dtype.js';
import type { Tensor } from './ops.gen.js';
import { abandon, adopt } from './scope.js';

/** One operator of the registry; `names` are the schema's arguments in the order in which values are passed. */
export interface Operator {
  readonly name: string;
  readonly overload: string;
  readonly names: readonly string[];
  id: number;
}

const UNRESOLVED = -2;
const ABSENT = -1;

/** Names an operator; it is looked up when it is first called. */
export function operator(name: string, overload: string, names: readonly string[]): Operator {
  return { name, overload, names, id: UNRESOLVED };
}

/** Whether the loaded libtorch has the operator. */
export function hasOperator(op: Operator): boolean {
  if (op.id === UNRESOLVED) op.id = native.resolve(op.name, op.overload, op.names);
  return op.id !== ABSENT;
}

function idOf(op: Operator): number {
  if (op.id >= 0 || hasOperator(op)) return op.id;
  throw new Error(`this libtorch (${native.describe().version}) has no operator ${op.name}.${op.overload}`);
}

/**
 * Told of an operator that was called from here and its arguments in the order of `op.names`; `shape` gives the
 * shape of its result, for operators that give one tensor.
 */
export type OperatorObserver = (op: Operator, values: readonly unknown[], shape: () => number[]) => void;

let observer: OperatorObserver | undefined;

/** Runs `body` while `observe` is told of operators that give something; backward passes are not seen. */
export function observeOperators<T>(observe: OperatorObserver, body: () => T): T {
  const outer = observer;
  observer = observe;
  try {
    return body();
  } finally {
    observer = outer;
  }
}

/** Whether somebody watches the operators: what is called must then be libtorch's, one by one. */
export function isObserved(): boolean {
  return observer !== undefined;
}

/** Calls an operator; tensors come back as handles. */
export function call(op: Operator, ...values: unknown[]): unknown {
  const result = native.call(idOf(op), ...values);
  observer?.(op, values, () => native.meta(result as Handle).slice(2) as number[]);
  return result;
}

/** Calls an operator for its effect (in-place and out variants). */
export function run(op: Operator, ...values: unknown[]): void {
  native.run(idOf(op), ...values);
}

const forgotten = new FinalizationRegistry<Handle>((handle) => native.release(handle));

const HALVES: ReadonlySet<DType> = new Set(['float16', 'bfloat16']);

export abstract class TensorBase {
  /** The name of the tensor in the addon; 0 once it is freed. */
  handle: Handle;
  private cachedMeta: { dtype: DType; device: Device; shape: readonly number[] } | undefined;
  private isWatched = false;

  constructor(handle: Handle) {
    this.handle = handle;
    if (!adopt(this)) this.outlive();
  }

  /**
   * No scope will free this tensor, so from now on the garbage collector does it where nobody else did, and knows
   * its size. What a scope holds is left out: collections that cannot free anything would hold up training.
   */
  outlive(): void {
    if (this.isWatched) return;
    this.isWatched = true;
    forgotten.register(this, this.handle, this);
    native.charge(this.handle);
  }

  protected abstract wrap(handle: Handle): Tensor;
  abstract scalar(): number | bigint | boolean;

  private get meta(): { dtype: DType; device: Device; shape: readonly number[] } {
    if (this.cachedMeta === undefined) {
      const [dtype, device, ...shape] = native.meta(this.handle);
      this.cachedMeta = { dtype: dtype as DType, device, shape };
    }
    return this.cachedMeta;
  }

  get shape(): readonly number[] {
    return this.meta.shape;
  }

  get ndim(): number {
    return this.meta.shape.length;
  }

  get numel(): number {
    return this.meta.shape.reduce((product, size) => product * size, 1);
  }

  get dtype(): DType {
    return this.meta.dtype;
  }

  get device(): Device {
    return this.meta.device;
  }

  get strides(): number[] {
    return native.strides(this.handle);
  }

  /** Tensors with the same `identity` look into the same memory; `offset` counts elements. */
  get storage(): { identity: bigint; offset: number; bytes: number } {
    const [identity, offset, bytes] = native.storage(this.handle);
    return { identity, offset, bytes };
  }

  /** The shape, after a check of its rank: `const [b, h, w, c] = x.sizes(4)`. */
  sizes(rank: number): number[] {
    if (this.ndim !== rank)
      throw new Error(`expected a tensor of ${rank} dimensions, received [${this.shape.join(', ')}]`);
    return this.shape as number[];
  }

  get requiresGrad(): boolean {
    return native.requiresGrad(this.handle);
  }

  set requiresGrad(value: boolean) {
    native.setRequiresGrad(this.handle, value);
  }

  /** The accumulated gradient, or null. */
  get grad(): Tensor | null {
    const handle = native.gradientOf(this.handle);
    return handle === 0 ? null : this.wrap(handle);
  }

  set grad(gradient: Tensor | null) {
    native.setGradient(this.handle, gradient?.handle ?? 0);
  }

  /** Adds d(this)/d(leaf) to every leaf's `grad`; a scalar needs no `gradient`. */
  backward(options: { gradient?: Tensor; retainGraph?: boolean } = {}): void {
    native.backward([this.handle], [options.gradient?.handle ?? 0], options.retainGraph ?? false);
  }

  /** The only element, as a number; an int64 that a number cannot hold exactly is an error (use `scalar()`). */
  item(): number {
    const value = this.scalar();
    if (typeof value === 'bigint') throw new RangeError(`${value} is too large for a number; use scalar()`);
    return Number(value);
  }

  /** The elements in row-major order, copied; float16 and bfloat16 come as Float32Array, bool as Uint8Array. */
  toArray(): TypedArray {
    if (HALVES.has(this.dtype)) {
      using wide = this.wrap(native.alias(this.handle)).to({ dtype: 'float32' });
      return wide.toArray();
    }
    const array = allocate(this.dtype, this.numel);
    native.copyOut(this.handle, array);
    return array;
  }

  /** As `toArray`, for a tensor known to hold float32 (or a narrower float). */
  toFloat32(): Float32Array {
    const array = this.toArray();
    return array instanceof Float32Array ? array : Float32Array.from(array as ArrayLike<number>);
  }

  /** The raw elements in row-major order, little-endian, copied. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.numel * bytesOf(this.dtype));
    native.copyOut(this.handle, bytes);
    return bytes;
  }

  /** Takes the memory, shape, dtype and device of `other`; identity and gradient flag stay. */
  setData(other: TensorBase): void {
    native.setData(this.handle, other.handle);
    this.cachedMeta = undefined;
  }

  /** Takes the tensor out of its scope: it lives until `dispose`. */
  keep(): this {
    abandon(this);
    this.outlive();
    return this;
  }

  /** The way back from `keep`: the innermost open scope frees the tensor again. */
  rescope(): this {
    adopt(this);
    return this;
  }

  /** Gives up the handle to whoever wraps it anew; this object is empty afterwards. */
  take(): Handle {
    const handle = this.surrender();
    if (handle === 0) throw new Error('the tensor was already freed (by its scope, `using` or dispose())');
    return handle;
  }

  /** As `take`, also where there is nothing left to give up: then it is 0. */
  surrender(): Handle {
    const { handle } = this;
    if (handle !== 0) this.forget();
    return handle;
  }

  /** Frees the handle; the memory goes when nothing else (a view, the autograd graph) needs it. */
  dispose(): void {
    const handle = this.surrender();
    if (handle !== 0) native.release(handle);
  }

  private forget(): void {
    if (this.isWatched) forgotten.unregister(this);
    this.isWatched = false;
    abandon(this);
    this.handle = 0;
    this.cachedMeta = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return this.handle === 0
      ? 'Tensor(freed)'
      : `Tensor(${this.dtype}[${this.shape.join('x')}], ${this.device})`;
  }
}
