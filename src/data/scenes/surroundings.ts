/** What stands around an object: backgrounds behind it, clutter beside it, and things that hide a bit of it. */

import type { Affine } from './affine.js';
import type { Colour } from './colours.js';
import type { Random } from './random.js';
import {
  arc,
  around,
  ellipse,
  type Point,
  polygon,
  polyline,
  rect,
  ring,
  roundRect,
  smooth,
} from './shapes.js';

/** A painted path in scene units (the frame is 0..100). */
export interface Mark {
  d: string;
  colour: Colour;
  line?: number;
  opacity?: number;
  /** Units of `d` -> scene units. */
  map?: Affine;
}

/** Backgrounds reach this far beyond the frame, so that other views of a scene find no edge. */
export const MARGIN = 60;
const LOW = -MARGIN;
const HIGH = 100 + MARGIN;

type Background = (rng: Random, first: Colour, second: Colour) => Mark[];

/** Bands at any angle: long quads through the frame's centre. */
const stripes: Background = (rng, first) => {
  const angle = rng.between(0, Math.PI);
  const [ux, uy] = [Math.cos(angle), Math.sin(angle)];
  const step = rng.between(5, 22);
  const width = step * rng.between(0.25, 0.6);
  const at = (along: number, across: number): Point => [
    50 + ux * along - uy * across,
    50 + uy * along + ux * across,
  ];
  let d = '';
  for (let across = -160; across < 160; across += step)
    d += polygon([at(-160, across), at(160, across), at(160, across + width), at(-160, across + width)]);
  return [{ d, colour: first }];
};

const checks: Background = (rng, first) => {
  const step = rng.between(9, 26);
  let d = '';
  for (let row = 0; LOW + row * step < HIGH; row++)
    for (let column = row % 2; LOW + column * step < HIGH; column += 2)
      d += rect(LOW + column * step, LOW + row * step, step, step);
  return [{ d, colour: first }];
};

const dots: Background = (rng, first) => {
  const step = rng.between(9, 22);
  const radius = step * rng.between(0.14, 0.36);
  let d = '';
  for (let row = 0; LOW + row * step < HIGH; row++)
    for (let x = LOW + (row % 2) * (step / 2); x < HIGH; x += step) d += ellipse(x, LOW + row * step, radius);
  return [{ d, colour: first }];
};

const waves: Background = (rng, first) => {
  const step = rng.between(9, 20);
  const length = rng.between(20, 44);
  const swing = rng.between(5, 18);
  let d = '';
  for (let y = LOW; y < HIGH; y += step)
    for (let x = LOW; x < HIGH; x += length) {
      d += arc([x, y], [x + length / 4, y - swing], [x + length / 2, y]);
      d += arc([x + length / 2, y], [x + (length * 3) / 4, y + swing], [x + length, y]);
    }
  return [{ d, colour: first, line: rng.between(1.5, 5) }];
};

/** Many small shards in two shades. */
const speckles: Background = (rng, first, second) => {
  const size = rng.between(2, 6);
  const shards = (count: number): string => {
    let d = '';
    for (let i = 0; i < count; i++) {
      const corners = around(
        rng.between(LOW, HIGH),
        rng.between(LOW, HIGH),
        rng.between(0.5, 1) * size,
        rng.integer(3, 5),
        rng.between(0, 90),
      );
      d += polygon(corners);
    }
    return d;
  };
  return [
    { d: shards(240), colour: first },
    { d: shards(240), colour: second },
  ];
};

/** Large soft-edged patches. */
const patches: Background = (rng, first, second) => {
  const marks: Mark[] = [];
  for (let i = 0; i < 14; i++) {
    const corners = around(
      rng.between(LOW, HIGH),
      rng.between(LOW, HIGH),
      rng.between(14, 40),
      rng.integer(5, 8),
      rng.between(0, 90),
    );
    const d = smooth(corners.map(([x, y]): Point => [x + rng.between(-8, 8), y + rng.between(-8, 8)]));
    marks.push({ d, colour: i % 2 === 0 ? first : second, opacity: rng.between(0.35, 0.9) });
  }
  return marks;
};

/** Layered hills, higher ones behind. */
const hills: Background = (rng, first, second) =>
  [first, second].map((colour, i) => {
    const base = rng.between(30, 50) + i * 25;
    const points: Point[] = [];
    for (let x = LOW - 10; x <= HIGH + 10; x += 20) points.push([x, base + rng.between(-9, 9)]);
    return { d: polygon([...points, [HIGH + 10, HIGH + 10], [LOW - 10, HIGH + 10]]), colour };
  });

const plain: Background = () => [];

const BACKGROUNDS: readonly Background[] = [plain, stripes, checks, dots, waves, speckles, patches, hills];

export function drawBackground(rng: Random, first: Colour, second: Colour): Mark[] {
  return rng.pick(BACKGROUNDS)(rng, first, second);
}

/** One abstract shape of no class, of about `size` across. */
function trinket(rng: Random, x: number, y: number, size: number): { d: string; line?: number } {
  const turn = rng.between(0, 360);
  const half = size / 2;
  switch (rng.integer(0, 6)) {
    case 0:
      return { d: polygon(around(x, y, half, rng.integer(3, 6), turn)) };
    case 1:
      return { d: ellipse(x, y, half, half * rng.between(0.5, 1)) };
    case 2:
      return { d: ring(x, y, half, half * rng.between(0.4, 0.75)) };
    case 3:
      return { d: polyline(around(x, y, half, 2, turn)), line: rng.between(1.5, 4) };
    case 4:
      return { d: roundRect(x - half, y - half * 0.6, size, size * 0.6, rng.between(0, 4)) };
    case 5: {
      const corners = around(x, y, half, 10, turn);
      return {
        d: polygon(
          corners.map(([px, py], i): Point => (i % 2 === 0 ? [px, py] : [(px + x) / 2, (py + y) / 2])),
        ),
      };
    }
    default: {
      const ends = around(x, y, half, 3, turn);
      return { d: arc(ends[0], ends[1], ends[2]), line: rng.between(1.5, 4) };
    }
  }
}

/** `count` shapes scattered over the scene. */
export function drawClutter(
  rng: Random,
  count: number,
  size: readonly [low: number, high: number],
  colour: () => Colour,
): Mark[] {
  return Array.from({ length: count }, () => {
    const shape = trinket(rng, rng.between(-8, 108), rng.between(-8, 108), rng.between(...size));
    return { ...shape, colour: colour(), opacity: rng.between(0.7, 1) };
  });
}
