/** Learned absolute positions on a grid, for pictures of another size than the one they were made for. */

import { scope, type Tensor } from '../../torch/index.js';

/**
 * positions: [1, rows*columns, C] of a `from` grid -> [1, ...] of the `to` grid, bicubic. With `scale` the
 * sampling step is 1/scale instead of from/to, as PyTorch does when it is given a scale factor.
 */
export function resizePositions(
  positions: Tensor,
  from: readonly [number, number],
  to: readonly [number, number],
  scale?: readonly [number, number],
): Tensor {
  return scope(() => {
    const channels = positions.shape[2];
    const map = positions.reshape([1, from[0], from[1], channels]).permute([0, 3, 1, 2]);
    const resized = map.upsampleBicubic2d([...to], false, scale?.[0] ?? null, scale?.[1] ?? null);
    return resized.permute([0, 2, 3, 1]).reshape([1, to[0] * to[1], channels]);
  });
}
