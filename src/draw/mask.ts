/** A picture of which only some regions are lit. */

import { internal } from '../errors.js';
import type { Grid } from './heat-map.js';
import type { Picture } from './picture.js';

/** How much of the light is left where the mask is 0. */
const DIMMED = 0.22;

/** Regions where the grid is 0 become dark and grey. */
export function maskedPicture(picture: Picture, { values, width, height }: Grid): Picture {
  if (values.length !== width * height)
    throw internal(`a ${width}x${height} mask with ${values.length} values`);
  const data = Uint8Array.from(picture.data);
  for (let y = 0; y < picture.height; y++)
    for (let x = 0; x < picture.width; x++) {
      const row = Math.floor((y * height) / picture.height);
      if (values[row * width + Math.floor((x * width) / picture.width)] !== 0) continue;
      const i = (y * picture.width + x) * 3;
      const grey = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
      data.fill(Math.round(grey * DIMMED), i, i + 3);
    }
  return { width: picture.width, height: picture.height, data };
}
