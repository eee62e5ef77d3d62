/** Which backend a run takes, and what people read where there is none. */

import { describe, expect, it } from 'vitest';
import { backendFor } from '../../src/dist/backend.js';
import { UserError } from '../../src/errors.js';

const both = { gloo: true, nccl: true, cudaDevices: 2 };
const onlyNccl = { ...both, gloo: false };
const pair = { localWorldSize: 2 };

describe('the backend of a run', () => {
  it('is NCCL on GPUs, without Gloo too, and Gloo elsewhere', () => {
    expect(backendFor('cuda', both, pair)).toBe('nccl');
    expect(backendFor('cuda', onlyNccl, pair)).toBe('nccl');
    expect(backendFor('cpu', both, pair)).toBe('gloo');
    expect(backendFor('cuda', { ...both, nccl: false }, { localWorldSize: 3 })).toBe('gloo');
  });

  it.each([
    ['CPUs over NCCL', 'cpu', onlyNccl, 2, /without the headers of Gloo.*--device cuda/],
    [
      'nothing at all',
      'cpu',
      { gloo: false, nccl: false, cudaDevices: 0 },
      2,
      /a run is one process.*libgloo-dev/,
    ],
    ['more processes than GPUs', 'cuda', both, 3, /3 processes .* sees 2 GPUs here.*--nproc_per_node 2\.$/],
    ['one GPU for two', 'cuda', { ...both, cudaDevices: 1 }, 2, /sees 1 GPU here/],
  ] as const)('is refused in a sentence: %s', (_, device, info, localWorldSize, says) => {
    const choose = () => backendFor(device, info, { localWorldSize });
    expect(choose).toThrow(UserError);
    expect(choose).toThrow(says);
  });
});
