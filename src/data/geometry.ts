/** The two ways in which a picture becomes a square: a box that is resized, or a resize with a centre crop. */

import { type Box, roundHalfEven } from './crop-draws.js';
import type { CropFilter, EvaluationPlan } from './crop-plan.js';
import { FILTER, type ResampleJob } from './native-image.js';

/** torchvision's resized_crop, optionally mirrored. */
export function cropJob(
  box: Box,
  size: number,
  flip: boolean,
  offset: number,
  filter: CropFilter = 'bicubic',
): ResampleJob {
  return {
    ...box,
    fullWidth: size,
    fullHeight: size,
    windowX: 0,
    windowY: 0,
    windowWidth: size,
    windowHeight: size,
    flip,
    filter: FILTER[filter],
    offset,
  };
}

/** torchvision's Resize(resize, bicubic) and CenterCrop(size): the longer side is cut down to whole pixels. */
export function evaluationJob(
  height: number,
  width: number,
  plan: EvaluationPlan,
  offset: number,
): ResampleJob {
  const { resize, size } = plan;
  const long = Math.floor((resize * Math.max(height, width)) / Math.min(height, width));
  const fullWidth = width <= height ? resize : long;
  const fullHeight = height <= width ? resize : long;
  return {
    left: 0,
    top: 0,
    width,
    height,
    fullWidth,
    fullHeight,
    windowX: centre(fullWidth, size),
    windowY: centre(fullHeight, size),
    windowWidth: size,
    windowHeight: size,
    flip: false,
    filter: FILTER.bicubic,
    offset,
  };
}

/** Where a window of `size` starts in `full`; a picture that is too small gets its black border there. */
function centre(full: number, size: number): number {
  if (full < size) return -Math.floor((size - full) / 2);
  return roundHalfEven((full - size) / 2);
}
