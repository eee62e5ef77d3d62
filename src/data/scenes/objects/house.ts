/** A house: walls, one of three roofs, door, windows, sometimes a chimney. */

import { line, type ObjectMaker, type Part, surface } from '../part.js';
import { ellipse, polygon, polyline, rect } from '../shapes.js';

export const house: ObjectMaker = (rng) => {
  const half = rng.between(26, 38);
  const top = rng.between(-14, 0);
  const floor = rng.between(30, 42);
  const ridge = top - rng.between(18, 32);
  const parts: Part[] = [];
  if (rng.chance(0.7))
    parts.push(surface('third', rect(rng.pick([-1, 1]) * half * 0.55 - 5, ridge + 2, 10, 24)));
  parts.push(surface('main', rect(-half, top, 2 * half, floor - top)));
  const eave = half + rng.between(3, 9);
  const roof = rng.integer(0, 2);
  if (roof === 0)
    parts.push(
      surface(
        'second',
        polygon([
          [-eave, top + 2],
          [0, ridge],
          [eave, top + 2],
        ]),
      ),
    );
  else if (roof === 1)
    parts.push(
      surface(
        'second',
        polygon([
          [-eave, top + 2],
          [-half * 0.55, ridge + 4],
          [half * 0.55, ridge + 4],
          [eave, top + 2],
        ]),
      ),
    );
  else
    parts.push(
      surface(
        'second',
        polygon([
          [-eave, top + 2],
          [-half * 0.4, ridge],
          [eave, top + 2],
        ]),
      ),
    );
  const door = rng.between(-half * 0.5, half * 0.5);
  const doorHeight = rng.between(19, 26);
  parts.push(surface('dark', rect(door - 6, floor - doorHeight, 12, doorHeight)));
  const pane = rng.between(9, 12);
  for (const x of [-half * 0.65, half * 0.65]) {
    if (Math.abs(x - door) < 13) continue;
    const y = top + rng.between(6, 10);
    parts.push(surface('light', rect(x - pane / 2, y, pane, pane)));
    parts.push(
      line(
        'dark',
        1.6,
        polyline([
          [x, y],
          [x, y + pane],
        ]) +
          polyline([
            [x - pane / 2, y + pane / 2],
            [x + pane / 2, y + pane / 2],
          ]),
      ),
    );
  }
  if (rng.chance(0.5) && roof === 0) parts.push(surface('light', ellipse(0, (ridge + top) / 2 + 4, 4.5)));
  return parts;
};
