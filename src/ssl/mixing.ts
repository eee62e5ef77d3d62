/** What the losses are to make of mixed pictures: how much of each picture there is in each crop and each region. */

import type { MixedPicture } from '../data/index.js';
import { internal } from '../errors.js';
import { type Device, type Tensor, tensor } from '../torch/index.js';

/** How one student crop of a batch of B pictures was mixed; picture i with picture B-1-i, its partner. */
export interface CropMixing {
  /** [B, B] how much picture j of the student counts for picture i of the teacher; columns sum to 1 */
  targets: Tensor;
  /**
   * Of a crop with so many regions, [B * regions, 1]: how much of each region is its own picture's. Without it
   * regions are taken as unmixed.
   */
  regionShares?(regions: number): Tensor;
  /** share of the target that is spread evenly over the batch */
  smoothing: number;
}

/** For one view of a batch. size: side of the crop in pixels. */
export function cropMixing(
  pictures: readonly MixedPicture[],
  size: number,
  smoothing: number,
  device: Device,
): CropMixing {
  return {
    targets: viewTargets(pictures, smoothing, device),
    regionShares: (regions) => {
      const shares = pictures.flatMap((picture) => [...ownShares(picture, size, regions)]);
      return tensor(Float32Array.from(shares), { device }).view([shares.length, 1]);
    },
    smoothing,
  };
}

/** -> [B, B]: column j says of which pictures the student's picture j consists */
function viewTargets(pictures: readonly MixedPicture[], smoothing: number, device: Device): Tensor {
  const batch = pictures.length;
  const values = new Float32Array(batch * batch).fill(smoothing / batch);
  for (const [j, { own }] of pictures.entries()) {
    values[j * batch + j] += (1 - smoothing) * own;
    values[(batch - 1 - j) * batch + j] += (1 - smoothing) * (1 - own);
  }
  return tensor(values, { device }).view([batch, batch]);
}

/**
 * How much of each region of a crop, row by row, is its own picture's: the ratio of mixup everywhere; under cutmix
 * the part of the region's square that lies outside of the box. float64 [regions]
 */
export function ownShares({ own, box }: MixedPicture, size: number, regions: number): Float64Array {
  const side = Math.round(Math.sqrt(regions));
  if (side * side !== regions) throw internal(`${regions} regions of a square crop form no square`);
  if (box === undefined) return new Float64Array(regions).fill(own);
  const cell = size / side;
  const covered = (index: number, start: number, length: number) =>
    Math.max(0, Math.min((index + 1) * cell, start + length) - Math.max(index * cell, start)) / cell;
  return Float64Array.from({ length: regions }, (_, region) => {
    const down = covered(Math.floor(region / side), box.top, box.height);
    return 1 - down * covered(region % side, box.left, box.width);
  });
}
