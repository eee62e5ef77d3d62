/** Gradients as values. */

import { native } from './binding.js';
import { Tensor } from './ops.gen.js';

/** Runs backward from several tensors at once, each with the gradient of the loss with respect to it. */
export function backward(roots: readonly Tensor[], gradients: readonly Tensor[]): void {
  native.backward(
    roots.map(({ handle }) => handle),
    gradients.map(({ handle }) => handle),
    false,
  );
}

/** d(outputs)/d(inputs), weighted by `gradients` (one each where outputs are no scalars); null where unused. */
export function grad(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  options: { gradients?: readonly Tensor[]; retainGraph?: boolean } = {},
): (Tensor | null)[] {
  const handles = (tensors: readonly Tensor[]) => tensors.map(({ handle }) => handle);
  return native
    .grad(handles(outputs), handles(inputs), handles(options.gradients ?? []), options.retainGraph ?? false)
    .map((handle) => (handle === 0 ? null : new Tensor(handle)));
}
