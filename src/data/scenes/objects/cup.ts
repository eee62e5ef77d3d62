/** A cup: bowl, handle, sometimes saucer, ornament and steam. */

import { line, type ObjectMaker, type Part, surface } from '../part.js';
import { arc, ellipse, petal, polygon, polyline, rect, smooth } from '../shapes.js';

export const cup: ObjectMaker = (rng) => {
  const top = rng.between(-24, -12);
  const bottom = rng.between(22, 32);
  const rim = rng.between(21, 28);
  const foot = rim * rng.between(0.6, 0.95);
  const parts: Part[] = [];
  if (rng.chance(0.5)) parts.push(surface('second', ellipse(-4, bottom + 2, rim + 12, 6)));
  const height = bottom - top;
  const handle = rng.between(0.22, 0.34) * height;
  const hy = top + height * rng.between(0.4, 0.5);
  if (rng.chance(0.7)) parts.push(line('main', 6, ellipse(rim - 2, hy, handle + 2, handle)));
  else
    parts.push(
      line(
        'main',
        6,
        polyline([
          [rim - 6, hy - handle],
          [rim + 13, hy - handle],
          [rim + 13, hy + handle * 0.5],
          [rim - 8, hy + handle],
        ]),
      ),
    );
  if (rng.chance(0.5))
    parts.push(
      surface(
        'main',
        polygon([
          [-rim, top],
          [rim, top],
          [foot, bottom],
          [-foot, bottom],
        ]),
      ),
    );
  else
    parts.push(
      surface(
        'main',
        smooth([
          [-rim, top],
          [0, top - 2],
          [rim, top],
          [rim * 0.92, top + height * 0.6],
          [foot * 0.6, bottom],
          [-foot * 0.6, bottom],
          [-rim * 0.92, top + height * 0.6],
        ]),
      ),
    );
  parts.push(surface('dark', ellipse(0, top, rim, rng.between(4, 7))));
  const ornament = rng.integer(0, 3);
  const belt = top + height * rng.between(0.45, 0.65);
  if (ornament === 1) parts.push(surface('third', rect(-rim * 0.82, belt - 4, rim * 1.64, 8)));
  if (ornament === 2) for (const x of [-12, 0, 12]) parts.push(surface('third', ellipse(x, belt, 4)));
  if (ornament === 3) parts.push(surface('third', petal([0, belt + 10], -90, 20, 14, true)));
  if (rng.chance(0.55))
    for (const x of [-9, 6]) {
      const sway = rng.between(5, 9);
      parts.push(
        line(
          'light',
          3,
          `${arc([x, top - 8], [x + sway, top - 14], [x, top - 19])}${arc([x, top - 19], [x - sway, top - 24], [x, top - 30])}`,
        ),
      );
    }
  return parts;
};
