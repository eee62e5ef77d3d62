/** Seed -> description of a drawn scene: plain data, free of any camera. */

import { type Affine, compose, rotation, scaling, shear, translation } from './affine.js';
import { drawPalette, oklch, type Palette } from './colours.js';
import { drawHabitat } from './habitats.js';
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
  /** More objects of the class, each with its own pose, parts and colours. */
  companions: Companion[];
}

/** What an object is drawn from. */
export type Companion = Pick<Scene, 'palette' | 'pose' | 'parts' | 'fill' | 'outline'>;

/**
 * The scene of `seed`: an object of `objectClass` in a random pose, colours, style and surroundings.
 * `variation` in 0..1 widens pose and clutter: 0 shows every object upright, centred and alone.
 * `surroundings` in 0..1 is the share of scenes with a patterned ground, and scales clutter once more.
 * With a `crowd`, up to so many more objects of the class stand beside the first, all of them smaller.
 * `habitat` is the share of scenes whose ground has a pattern that goes with the class, in any colours.
 * Everything but the objects' parts and that pattern is drawn independently of the class.
 */
export function describeScene(
  objectClass: ObjectClass,
  seed: string | number,
  variation = 1,
  surroundings = 1,
  crowd = 0,
  habitat = 0,
): Scene {
  const rng = random('scene', seed);
  const palette = drawPalette(rng.fork('palette'));
  const style = rng.fork('style');
  const { fill, outline } = drawStyle(style);
  const around = rng.fork('surroundings');
  const pattern = drawBackground(around, palette.ground[1], palette.ground[2]);
  const home = rng.fork('habitat');
  const background = home.chance(habitat)
    ? drawHabitat(home, objectClass, palette.lightness)
    : rng.fork('pattern').chance(surroundings)
      ? pattern
      : [];
  const busy = variation * surroundings;
  const clutter = drawClutter(around, Math.round(around.between(0, 9) * busy), [5, 16], () =>
    oklch(around.between(0.2, 0.95), around.between(0, 0.18), around.between(0, 360)),
  );
  const occluders = drawClutter(around, Math.round(around.between(0, 2.4) * busy), [6, 15], () =>
    oklch(around.between(0.2, 0.95), around.between(0, 0.18), around.between(0, 360)),
  );

  const places = crowd > 0 ? crowdPlaces(rng.fork('places'), crowd) : [undefined];
  const companions = places.slice(1).map((place, i): Companion => {
    const own = rng.fork(`companion ${i}`);
    return {
      palette: { ...drawPalette(own.fork('palette')), ground: palette.ground },
      pose: drawPose(own.fork('pose'), variation, place),
      parts: OBJECTS[objectClass](own.fork('object')),
      ...drawStyle(own.fork('style')),
    };
  });

  return {
    objectClass,
    palette,
    companions,
    pose: drawPose(rng.fork('pose'), variation, places[0]),
    parts: OBJECTS[objectClass](rng.fork('object')),
    fill,
    outline,
    slope: style.between(0, 360),
    background,
    clutter,
    occluders,
  };
}

function drawStyle(rng: ReturnType<typeof random>): Pick<Scene, 'fill' | 'outline'> {
  const fill: FillStyle = rng.chance(0.15) ? 'lines' : rng.chance(0.35) ? 'gradient' : 'flat';
  return {
    fill,
    outline: fill === 'lines' ? rng.between(2.5, 4) : rng.chance(0.45) ? rng.between(1.2, 3.4) : 0,
  };
}

/** A place in a crowd: its centre, and how wide it is. */
interface Place {
  x: number;
  y: number;
  width: number;
}

/** Cells of a square grid that holds `crowd` + 1 objects, in random order; up to a third stay empty. */
function crowdPlaces(rng: ReturnType<typeof random>, crowd: number): Place[] {
  const side = Math.ceil(Math.sqrt(crowd + 1));
  const width = 100 / side;
  const cells = Array.from({ length: side * side }, (_, i) => ({
    order: rng.between(0, 1),
    x: ((i % side) + 0.5) * width,
    y: (Math.floor(i / side) + 0.5) * width,
    width,
  }));
  cells.sort((a, b) => a.order - b.order);
  return cells.slice(0, Math.max(1, Math.round((crowd + 1) * rng.between(0.67, 1))));
}

/** Mirror, size, aspect, slant, turn, then place: larger objects have less room to wander. */
function drawPose(rng: ReturnType<typeof random>, variation: number, place?: Place): Affine {
  const full = 0.8 + variation * rng.between(-0.42, 0.18);
  const aspect = 1 + variation * rng.between(-0.16, 0.16);
  const size = place === undefined ? full : (full * 1.3 * place.width) / 100;
  const room = place === undefined ? Math.max(8, 50 - 36 * full) * variation : place.width * 0.2 * variation;
  const { x, y } = place ?? { x: 50, y: 50 };
  const steps: Affine[] = [
    scaling((rng.chance(0.5) ? -1 : 1) * size * aspect, size / aspect),
    shear(variation * rng.between(-0.28, 0.28)),
    rotation(variation * rng.normal(0, 20)),
    translation(x + rng.between(-room, room), y + rng.between(-room, room)),
  ];
  return steps.reduce((inner, outer) => compose(outer, inner));
}
