/** Learned absolute positions on a grid, for pictures of another size than the one they were made for. */

import { noGrad, scope, type Tensor } from '../../torch/index.js';

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
    const isSameSize = from[0] === to[0] && from[1] === to[1];
    const resized =
      scale !== undefined && isSameSize
        ? resample(map, scale)
        : map.upsampleBicubic2d([...to], false, scale?.[0] ?? null, scale?.[1] ?? null);
    return resized.permute([0, 2, 3, 1]).reshape([1, to[0] * to[1], channels]);
  });
}

/**
 * map: [1, C, H, W] -> the same size, sampled in steps of 1/scale. Libtorch's kernel for CPUs does so when it is asked
 * for the map's own size, the one for CUDA copies instead; and both copy gradients back, whatever was sampled. So we
 * ask for a row more, which both sample, and let gradients pass as they do.
 */
function resample(map: Tensor, [rows, columns]: readonly [number, number]): Tensor {
  return scope(() => {
    const [, , height, width] = map.sizes(4);
    const change = noGrad(() =>
      map
        .upsampleBicubic2d([height + 1, width], false, rows, columns)
        .narrow(2, 0, height)
        .sub(map),
    );
    return map.add(change);
  });
}
