/** Which of libtorch's backends carries a run's collectives. */

import { UserError } from '../errors.js';
import type { TorchDescription } from '../torch/index.js';
import type { BackendName } from './binding.js';

export const NO_COLLECTIVES =
  'this libtorch came without the headers of its collectives, so a run is one process. Debian, Ubuntu: install ' +
  'libgloo-dev and run `npm run setup` again.';

/** NCCL for GPUs where it is there, else Gloo; a sentence on what is missing where neither can do it. */
export function backendFor(
  device: 'cpu' | 'cuda',
  { gloo, nccl, cudaDevices }: Pick<TorchDescription, 'gloo' | 'nccl' | 'cudaDevices'>,
  { localWorldSize }: { readonly localWorldSize: number },
): BackendName {
  if (device === 'cuda' && nccl) {
    if (localWorldSize <= cudaDevices) return 'nccl';
    throw new UserError(
      'environment',
      `${localWorldSize} processes are to run on this machine, and libtorch sees ${cudaDevices} ` +
        `${cudaDevices === 1 ? 'GPU' : 'GPUs'} here: NCCL needs one for each. Give --nproc_per_node ${cudaDevices}.`,
    );
  }
  if (gloo) return 'gloo';
  throw new UserError(
    'environment',
    nccl
      ? 'this libtorch came without the headers of Gloo, so only processes with a GPU each can work together, over NCCL. ' +
          'Give --device cuda, or use a libtorch with Gloo (Debian, Ubuntu: libtorch-dev and libgloo-dev).'
      : NO_COLLECTIVES,
  );
}
