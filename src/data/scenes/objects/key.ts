/** A key: one of four bows, shaft and teeth. */

import { line, type ObjectMaker, type Part, surface } from '../part.js';
import { arc, around, ellipse, polygon, rect, ring, roundRect } from '../shapes.js';

export const key: ObjectMaker = (rng) => {
  const parts: Part[] = [];
  const bow = rng.between(13, 18);
  const centre = -30;
  const thick = rng.between(3.5, 5.5);
  const tip = rng.between(38, 46);
  parts.push(surface('main', rect(centre + bow - 3, -thick, tip - centre - bow + 3, 2 * thick)));
  const teeth = rng.integer(2, 4);
  for (let i = 0; i < teeth; i++)
    parts.push(
      surface(
        'main',
        rect(tip - 6 - i * rng.between(8, 9.5), thick - 1, rng.between(4, 6), rng.between(7, 15)),
      ),
    );
  const shape = rng.integer(0, 3);
  if (shape === 0) parts.push(surface('main', ring(centre, 0, bow, bow * rng.between(0.45, 0.65))));
  else if (shape === 1) {
    for (const [x, y] of around(centre, 0, bow * 0.62, 3, 180))
      parts.push(surface('main', ring(x, y, bow * 0.66, bow * 0.3)));
  } else if (shape === 2) {
    const inner = bow * 0.5;
    parts.push(
      surface(
        'main',
        roundRect(centre - bow, -bow, 2 * bow, 2 * bow, 5) +
          rect(centre - inner, -inner, 2 * inner, 2 * inner),
      ),
    );
  } else parts.push(surface('main', polygon(around(centre, 0, bow + 2, 6)) + ellipse(centre, 0, bow * 0.5)));
  if (rng.chance(0.5)) parts.push(surface('second', rect(centre + bow + 1, -thick - 3, 4, 2 * thick + 6)));
  if (rng.chance(0.35))
    parts.push(
      line(
        'third',
        3,
        arc([centre - bow + 2, 0], [centre - bow - 14, rng.between(-24, 24)], [centre - bow + 2, 4]),
      ),
    );
  return parts;
};
