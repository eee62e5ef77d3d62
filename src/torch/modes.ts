/** Modes of the current thread: gradients, inference, autocast, threads, exactness. */

import { native, type TorchDescription } from './binding.js';
import type { DType } from './dtype.js';

/** Runs `body` without recording for backward. */
export function noGrad<T>(body: () => T): T {
  return withGradMode(false, body);
}

export function enableGrad<T>(body: () => T): T {
  return withGradMode(true, body);
}

function withGradMode<T>(enabled: boolean, body: () => T): T {
  const before = native.setGradMode(enabled);
  try {
    return body();
  } finally {
    native.setGradMode(before);
  }
}

/** As `noGrad`, and results can never take part in autograd: saves version counting. */
export function inferenceMode<T>(body: () => T): T {
  native.enterInference();
  try {
    return body();
  } finally {
    native.leaveInference();
  }
}

const products = new Map<string, DType>();

/** The dtype of matrix products on `device` under the autocast that is on, undefined without one. */
export function autocastDtype(device: string): DType | undefined {
  return products.get(device.startsWith('cuda') ? 'cuda' : 'cpu');
}

/** Runs `body` with matrix products in `dtype` (bfloat16 on the CPU; bfloat16 or float16 on CUDA). */
export function autocast<T>(options: { device: string; dtype: DType; enabled?: boolean }, body: () => T): T {
  const type = options.device.startsWith('cuda') ? 'cuda' : 'cpu';
  const enabled = options.enabled ?? true;
  const outer = products.get(type);
  const [wasEnabled, dtypeBefore] = native.setAutocast(type, enabled, options.dtype);
  if (enabled) products.set(type, options.dtype);
  else products.delete(type);
  try {
    return body();
  } finally {
    native.setAutocast(type, wasEnabled, dtypeBefore);
    if (outer === undefined) products.delete(type);
    else products.set(type, outer);
  }
}

/** Threads inside an operator. */
export function setThreads(count: number): void {
  native.setThreads(count);
}

export function getThreads(): number {
  return native.getThreads();
}

/** Exact products: no TF32 on CUDA. */
export function setExactMatmul(exact: boolean): void {
  native.setExactMatmul(exact);
}

export function cudaAvailable(): boolean {
  return native.describe().cudaDevices > 0;
}

/** Waits for the CUDA device; nothing to wait for without one. */
export function synchronize(): void {
  native.cudaSynchronize?.();
}

/** Bytes on the current CUDA device, of this process. */
export interface CudaMemory {
  /** of tensors, now and at most */
  allocated: number;
  allocatedPeak: number;
  /** taken from the device, with what is kept for later tensors; now and at most */
  reserved: number;
  reservedPeak: number;
}

/** null without a CUDA device, and before libtorch 2.9. */
export function cudaMemory(): CudaMemory | null {
  if (native.cudaMemory === undefined) return null;
  const [allocated, allocatedPeak, reserved, reservedPeak] = native.cudaMemory();
  return { allocated, allocatedPeak, reserved, reservedPeak };
}

/** Peaks of `cudaMemory` are counted from now on. */
export function forgetCudaPeak(): void {
  native.cudaForgetPeak?.();
}

/** Gives memory that no tensor needs back to the CUDA device, for other programs. */
export function emptyCudaCache(): void {
  native.cudaEmptyCache?.();
}

export function torchInfo(): TorchDescription {
  return native.describe();
}

/** Handles that are alive in this thread. */
export function liveTensors(): number {
  return native.liveTensors();
}
