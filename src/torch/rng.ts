/** Random numbers of libtorch: seeds, states, generators of one's own. */

import { native } from './binding.js';
import type { Device } from './dtype.js';
import { Tensor } from './ops.gen.js';

/** A source of random numbers for operators that take one. */
export interface Generator {
  readonly generator: number;
}

/** Seeds the default generators of all devices. */
export function manualSeed(seed: number | bigint): void {
  native.manualSeed(seed);
}

/** The state of a device's default generator, as PyTorch's `get_rng_state` gives it. */
export function rngState(device: Device = 'cpu'): Tensor {
  return new Tensor(native.rngState(device));
}

export function setRngState(state: Tensor, device: Device = 'cpu'): void {
  native.setRngState(device, state.handle);
}

/** A CPU generator of its own; it lives as long as the process. */
export function newGenerator(seed: number): Generator {
  return { generator: native.newGenerator(seed) };
}
