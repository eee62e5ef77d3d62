/** Seed -> description of a drawn scene: plain data, free of any camera. */

import { type Affine, compose, rotation, scaling, shear, translation } from './affine.js';
import { drawPalette, oklch, type Palette } from './colours.js';
import { OBJECTS, type ObjectClass } from './objects.js';
import type { Part } from './part.js';
import { random } from './random.js';
import { drawBackground, drawClutter, type Mark } from './surroundings.js';

/** How surfaces are painted: `lines` leaves them nearly as light as the ground, with a strong pen. */
export type FillStyle = 'flat' | 'gradient' | 'lines';

export interface Scene {
  objectClass: ObjectClass;
  palette: Palette;
  /** Object space -> scene units (the frame of the plain view is 0..100). */
  pose: Affine;
  parts: Part[];
  fill: FillStyle;
  /** Width of the outline in object units; 0 for none. */
  outline: number;
  /** The ground runs from one colour to another in this direction, degrees. */
  slope: number;
  background: Mark[];
  clutter: Mark[];
  occluders: Mark[];
}

/**
 * The scene of `seed`: an object of `objectClass` in a random pose, colours, style and surroundings.
 * `variation` in 0..1 widens pose and clutter: 0 shows every object upright, centred and alone.
 * `surroundings` in 0..1 is the share of scenes with a patterned ground, and scales clutter once more.
 * Everything but the object's parts is drawn independently of the class.
 */
export function describeScene(
  objectClass: ObjectClass,
  seed: string | number,
  variation = 1,
  surroundings = 1,
): Scene {
  const rng = random('scene', seed);
  const palette = drawPalette(rng.fork('palette'));
  const style = rng.fork('style');
  const fill: FillStyle = style.chance(0.15) ? 'lines' : style.chance(0.35) ? 'gradient' : 'flat';
  const outline = fill === 'lines' ? style.between(2.5, 4) : style.chance(0.45) ? style.between(1.2, 3.4) : 0;

  const around = rng.fork('surroundings');
  const pattern = drawBackground(around, palette.ground[1], palette.ground[2]);
  const background = rng.fork('pattern').chance(surroundings) ? pattern : [];
  const busy = variation * surroundings;
  const clutter = drawClutter(around, Math.round(around.between(0, 9) * busy), [5, 16], () =>
    oklch(around.between(0.2, 0.95), around.between(0, 0.18), around.between(0, 360)),
  );
  const occluders = drawClutter(around, Math.round(around.between(0, 2.4) * busy), [6, 15], () =>
    oklch(around.between(0.2, 0.95), around.between(0, 0.18), around.between(0, 360)),
  );

  return {
    objectClass,
    palette,
    pose: drawPose(rng.fork('pose'), variation),
    parts: OBJECTS[objectClass](rng.fork('object')),
    fill,
    outline,
    slope: style.between(0, 360),
    background,
    clutter,
    occluders,
  };
}

/** Mirror, size, aspect, slant, turn, then place: larger objects have less room to wander. */
function drawPose(rng: ReturnType<typeof random>, variation: number): Affine {
  const size = 0.8 + variation * rng.between(-0.42, 0.18);
  const aspect = 1 + variation * rng.between(-0.16, 0.16);
  const room = Math.max(8, 50 - 36 * size) * variation;
  const steps: Affine[] = [
    scaling((rng.chance(0.5) ? -1 : 1) * size * aspect, size / aspect),
    shear(variation * rng.between(-0.28, 0.28)),
    rotation(variation * rng.normal(0, 20)),
    translation(50 + rng.between(-room, room), 50 + rng.between(-room, room)),
  ];
  return steps.reduce((inner, outer) => compose(outer, inner));
}
