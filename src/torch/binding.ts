/** The addon's functions, as TypeScript sees them; loading it explains itself when it fails. */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { messageOf, UserError } from '../errors.js';

/** A number that names a tensor in the addon's table; 0 is none. */
export type Handle = number;

export interface TorchDescription {
  version: string;
  /** libtorch's own text on compilers, BLAS and CPU capability */
  config: string;
  /** libtorch's own text on threads */
  parallel: string;
  mkl: boolean;
  onednn: boolean;
  lapack: boolean;
  cudaDevices: number;
  cudnn: boolean;
  /** collectives that the addon was built with */
  gloo: boolean;
  nccl: boolean;
}

export interface SchemaDescription {
  text: string;
  arguments: {
    name: string;
    type: string;
    keywordOnly: boolean;
    hasDefault: boolean;
    size: number;
    written: boolean;
  }[];
  returns: { type: string; written: boolean }[];
}

interface Native {
  call(operator: number, ...values: unknown[]): unknown;
  run(operator: number, ...values: unknown[]): void;
  resolve(name: string, overload: string, argumentNames: readonly string[]): number;
  schemas(names: readonly string[]): (SchemaDescription | null)[];
  meta(handle: Handle): [string, string, ...number[]];
  strides(handle: Handle): number[];
  storage(handle: Handle): [bigint, number, number];
  fromMemory(memory: ArrayBufferView, shape: readonly number[], dtype: string): Handle;
  copyOut(handle: Handle, memory: ArrayBufferView): void;
  release(handle: Handle): void;
  /** Zeros are passed over. */
  releaseAll(handles: readonly Handle[]): void;
  /** Tells V8 of the tensor's bytes until it is released. */
  charge(handle: Handle): void;
  /** What V8 was told so, by other addons too. */
  chargedBytes(): number;
  liveTensors(): number;
  setData(handle: Handle, other: Handle): void;
  alias(handle: Handle): Handle;
  backward(roots: Handle[], gradients: Handle[], retainGraph: boolean): void;
  grad(outputs: Handle[], inputs: Handle[], gradients: Handle[], retainGraph: boolean): Handle[];
  gradientOf(handle: Handle): Handle;
  setGradient(handle: Handle, gradient: Handle): void;
  requiresGrad(handle: Handle): boolean;
  setRequiresGrad(handle: Handle, value: boolean): void;
  setGradMode(enabled: boolean): boolean;
  enterInference(): void;
  leaveInference(): void;
  setAutocast(deviceType: 'cpu' | 'cuda', enabled: boolean, dtype: string): [boolean, string];
  setThreads(count: number): void;
  getThreads(): number;
  manualSeed(seed: number | bigint): void;
  rngState(device: string): Handle;
  setRngState(device: string, state: Handle): void;
  newGenerator(seed: number): number;
  describe(): TorchDescription;
  setExactMatmul(exact: boolean): void;
  layerNorm(x: Handle, weight: Handle, bias: Handle, eps: number): Handle;
  gelu(x: Handle): Handle;
  weightNorm(v: Handle, gain: Handle): Handle;
  windowAttention(qkv: Handle, outside: Handle, bias: Handle, window: number, shift: number): Handle;
  crossEntropy(
    x: Handle,
    q: Handle,
    total: number,
    totals: Handle,
    factor: number,
    weight: number,
    gradient: Handle,
  ): Handle;
  sharpen(x: Handle, center: Handle, factor: number): Handle;
  adamw(
    parameters: readonly Handle[],
    gradients: readonly Handle[],
    means: readonly Handle[],
    squares: readonly Handle[],
    decay: number,
    beta1: number,
    beta2: number,
    correction: number,
    eps: number,
    rate: number,
  ): boolean;
  moveAverage(averages: readonly Handle[], values: readonly Handle[], momentum: number): boolean;
  useKernels(name: string | null): string | null;
  /** Only where there is a CUDA device. */
  cudaSynchronize?(): void;
  /** From libtorch 2.9 on. */
  cudaMemory?(): [allocated: number, allocatedPeak: number, reserved: number, reservedPeak: number];
  cudaForgetPeak?(): void;
  cudaEmptyCache?(): void;
}

/** Where the built addon lies; the image functions of the data room live in the same file. */
export const addonPath = fileURLToPath(new URL('../../build/Release/esvit.node', import.meta.url));

function load(): Native {
  // libgomp reads this when it is loaded. Threads that wait spin for milliseconds by default, and take the cores from
  // the threads that decode and from other programs; short spinning costs nothing that could be measured.
  process.env.GOMP_SPINCOUNT ??= '1000';
  if (!existsSync(addonPath))
    throw new UserError(
      'environment',
      'the native addon is not built yet. Run `npm run setup` in the folder of esvit.',
    );
  try {
    return createRequire(import.meta.url)(addonPath) as Native;
  } catch (error) {
    throw new UserError(
      'environment',
      `the native addon cannot be loaded (${messageOf(error)}). libtorch was probably moved or changed since ` +
        'the addon was built: run `npm run setup` again.',
      { cause: error },
    );
  }
}

export const native: Native = load();
