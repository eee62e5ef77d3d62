/** Where each class lives: a ground pattern of its own, in any colours, at any place, a little turned and scaled. */

import { type Affine, compose, rotation, scaling, translation } from './affine.js';
import { oklch } from './colours.js';
import type { ObjectClass } from './objects.js';
import type { Random } from './random.js';
import { arc, around, ellipse, type Point, polygon, polyline, rect, ring } from './shapes.js';
import type { Mark } from './surroundings.js';

/** Patterns are drawn this far to all sides of their own origin, in units of their step. */
const REACH = 16;

/** Size of a motif in scene units, and how far a pattern is turned, in degrees. */
const STEP = [12, 18] as const;
const TURN = 45;

/** One motif at every place of a lattice: path data in units of the step. */
type Motif = (column: number, row: number) => string;

interface Pattern {
  motif: Motif;
  /** Width of the pen in units of the step; without it the motifs are surfaces. */
  line?: number;
}

/** All have about the same grain and as much ink as the others, so that neither tells the class. */
const PATTERNS: Readonly<Record<ObjectClass, Pattern>> = {
  bird: { motif: (x, y) => polygon(triangle(x + (y % 2) * 0.5, y)) },
  boat: { motif: (x, y) => wave(x, y), line: 0.42 },
  car: {
    motif: (x, y) =>
      polyline(
        [
          [x, y],
          [x + 0.5, y + 0.5],
          [x + 1, y],
        ].map(point),
      ),
    line: 0.4,
  },
  clock: { motif: (x, y) => ring(x * 1.5, y * 1.5, 0.66, 0.26) },
  cup: { motif: (x, y) => ((x + y) % 2 === 0 ? rect(x * 0.8, y * 0.8, 0.8, 0.8) : '') },
  fish: { motif: (x, y) => scale(x * 1.5 + (y % 2) * 0.75, y * 0.9), line: 0.34 },
  flower: { motif: (x, y) => ellipse(x + (y % 2) * 0.5, y * 0.87, 0.36) },
  house: { motif: (x, y) => rect(x * 1.5 + (y % 2) * 0.75, y * 0.72, 1.25, 0.48) },
  key: { motif: (x, y) => cross(x * 1.45, y * 1.45), line: 0.42 },
  tree: { motif: (x, y) => rect(x * 0.9, y, 0.42, 1.01) },
};

const point = ([x, y]: readonly number[]): Point => [x, y];
const triangle = (x: number, y: number) => around(x, y, 0.56, 3, -90);
const wave = (x: number, y: number) =>
  arc([x, y], [x + 0.25, y - 0.45], [x + 0.5, y]) + arc([x + 0.5, y], [x + 0.75, y + 0.45], [x + 1, y]);
const scale = (x: number, y: number) => arc([x - 0.75, y], [x, y + 1.5], [x + 0.75, y]);
const cross = (x: number, y: number) =>
  polyline(
    [
      [x - 0.36, y],
      [x + 0.36, y],
    ].map(point),
  ) +
  polyline(
    [
      [x, y - 0.36],
      [x, y + 0.36],
    ].map(point),
  );

/** The ground of a class: its pattern, somewhere, lighter or darker than what lies under it. */
export function drawHabitat(rng: Random, objectClass: ObjectClass, under: number): Mark[] {
  const gap = rng.between(0.2, 0.5);
  const lightness = under > 0.75 || (under > 0.4 && rng.chance(0.5)) ? under - gap : under + gap;
  const { motif, line } = PATTERNS[objectClass];
  const step = rng.between(...STEP);
  let d = '';
  for (let row = -REACH; row < REACH; row++)
    for (let column = -REACH; column < REACH; column++) d += motif(column, row);
  const steps: Affine[] = [
    translation(rng.between(0, 2), rng.between(0, 2)),
    scaling(step),
    rotation(rng.between(-TURN, TURN)),
    translation(50, 50),
  ];
  return [
    {
      d,
      colour: oklch(lightness, rng.between(0, 0.13), rng.between(0, 360)),
      ...(line !== undefined && { line }),
      map: steps.reduce((inner, outer) => compose(outer, inner)),
    },
  ];
}
