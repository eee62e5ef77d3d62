/** Whether the chosen crops can be made, and suit the network. */

import { UserError } from '../errors.js';
import type { ResolvedTrainConfig } from './resolved-config.js';

type CropChoice = Pick<
  ResolvedTrainConfig,
  'global_crops_size' | 'global_crops_scale' | 'local_crops_size' | 'local_crops_number' | 'local_crops_scale'
>;

/** Refuses crops that cannot be made, or are smaller than a patch. */
export function checkCrops(crops: CropChoice, patch: number): void {
  const { local_crops_number: numbers, local_crops_size: sizes } = crops;
  const hasLocal = numbers.some((number) => number > 0);
  if (hasLocal && numbers.length !== sizes.length)
    throw new UserError(
      'config',
      `--local_crops_number has ${numbers.length} values and --local_crops_size ${sizes.length}; give one number for each size.`,
    );
  for (const name of ['global_crops_scale', 'local_crops_scale'] as const) {
    const [low, high] = crops[name];
    if (!(low > 0 && low <= high && high <= 1))
      throw new UserError(
        'config',
        `--${name} expected two shares of the area, 0 < low <= high <= 1, but received ${low} ${high}.`,
      );
  }
  const smallest = Math.min(crops.global_crops_size, ...(hasLocal ? sizes : []));
  if (smallest < patch)
    throw new UserError(
      'config',
      `A crop of ${smallest} pixels is smaller than a patch of ${patch}; use larger crops or a smaller patch.`,
    );
}

/** The sizes that are there at all. */
export function localCrops(
  numbers: readonly number[],
  sizes: readonly number[],
): { size: number; count: number }[] {
  return numbers.flatMap((count, index) => (count > 0 ? [{ size: sizes[index], count }] : []));
}

/** Side of the patches that the stem cuts, where it is known before the network is built. */
export function patchOf({ arch, spec }: ResolvedTrainConfig['model'], patchSize: number): number {
  const size = spec?.PATCH_SIZE;
  const first = Array.isArray(size) ? size[0] : size;
  if (typeof first === 'number') return first;
  if (/^(deit|vit)/.test(arch)) return patchSize;
  return /^(swin|vil|cvt)/.test(arch) ? 4 : 1;
}
