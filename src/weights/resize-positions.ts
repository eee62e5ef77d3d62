/** Learned positions of another window or picture size, resampled to the wanted one. */

import { cat, noGrad, scope, type Tensor } from '../torch/index.js';

/**
 * Tables of relative positions [(2w-1)², heads], embeddings of a square grid [1, N, C] with or without a class
 * token, and those of one axis [1, N, C]: bicubic, as the models of this family are moved to other sizes. Undefined
 * where `name` is no such tensor, or its shape is no square on either side.
 */
export function resizePositionsTo(name: string, found: Tensor, shape: readonly number[]): Tensor | undefined {
  if (found.ndim !== shape.length || !/float/.test(found.dtype)) return undefined;
  if (/bias_table$/.test(name) && found.ndim === 2 && found.shape[1] === shape[1]) return table(found, shape);
  if (!/pos_embed$/.test(name) || found.ndim !== 3 || found.shape[0] !== 1 || shape[0] !== 1)
    return undefined;
  if (found.shape[2] !== shape[2] || found.shape[1] < 1 || shape[1] < 1) return undefined;
  if (/cls_pos_embed$/.test(name)) return undefined;
  if (/[xy]_pos_embed$/.test(name)) return resample(found, [1, found.shape[1]], [1, shape[1]]);
  return squareGrid(found, shape[1]);
}

/** [S², heads] -> [T², heads] */
function table(found: Tensor, [rows, heads]: readonly number[]): Tensor | undefined {
  const [from, to] = [side(found.shape[0]), side(rows)];
  if (from === undefined || to === undefined) return undefined;
  return noGrad(() =>
    scope(() => resample(found.unsqueeze(0), [from, from], [to, to]).reshape([rows, heads])),
  );
}

/** [1, extra + S², C] -> [1, extra + T², C]; `extra` is the class token or nothing, and stays. */
function squareGrid(found: Tensor, length: number): Tensor | undefined {
  for (const extra of [0, 1]) {
    const [from, to] = [side(found.shape[1] - extra), side(length - extra)];
    if (from === undefined || to === undefined) continue;
    return noGrad(() =>
      scope(() => {
        const grid = resample(found.narrow(1, extra, from * from), [from, from], [to, to]);
        return extra === 0 ? grid : cat([found.narrow(1, 0, extra).to({ dtype: 'float32' }), grid], 1);
      }),
    );
  }
  return undefined;
}

/** [1, rows*columns, C] of one grid -> of another, in float32 */
function resample(positions: Tensor, from: readonly [number, number], to: readonly [number, number]): Tensor {
  return noGrad(() =>
    scope(() => {
      const channels = positions.shape[2];
      const map = positions
        .detach()
        .to({ dtype: 'float32' })
        .reshape([1, from[0], from[1], channels])
        .permute([0, 3, 1, 2]);
      return map
        .upsampleBicubic2d([...to], false, null, null)
        .permute([0, 2, 3, 1])
        .reshape([1, to[0] * to[1], channels]);
    }),
  );
}

function side(count: number): number | undefined {
  const root = Math.round(Math.sqrt(count));
  return root > 0 && root * root === count ? root : undefined;
}
