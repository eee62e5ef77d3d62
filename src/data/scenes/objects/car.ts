/** A car seen from the side: saloon, van or pick-up. */

import { line, type ObjectMaker, type Part, surface } from '../part.js';
import { ellipse, polygon, polyline, roundRect } from '../shapes.js';

export const car: ObjectMaker = (rng) => {
  const half = rng.between(40, 46);
  const deck = rng.between(-4, 2);
  const roof = deck - rng.between(16, 22);
  const base = rng.between(14, 18);
  const parts: Part[] = [];
  const kind = rng.integer(0, 2); // saloon, van, pick-up
  const [rearTop, frontTop] = [
    [-20, 12],
    [-36, 16],
    [-6, 16],
  ][kind];
  const rearFoot = [-30, -half + 2, -8][kind];
  const frontFoot = frontTop + rng.between(9, 16);
  parts.push(
    surface(
      'main',
      polygon([
        [rearFoot, deck + 3],
        [rearTop, roof],
        [frontTop, roof],
        [frontFoot, deck + 3],
      ]),
    ),
  );
  const middle = (rearTop + frontTop) / 2;
  const glass = roof + 4;
  parts.push(
    surface(
      'light',
      polygon([
        [rearFoot + 7, deck],
        [rearTop + 3, glass],
        [middle - 1.5, glass],
        [middle - 1.5, deck],
      ]),
    ),
  );
  parts.push(
    surface(
      'light',
      polygon([
        [middle + 1.5, deck],
        [middle + 1.5, glass],
        [frontTop - 2, glass],
        [frontFoot - 6, deck],
      ]),
    ),
  );
  parts.push(surface('main', roundRect(-half, deck, 2 * half, base - deck, rng.between(3, 8))));
  if (rng.chance(0.5))
    parts.push(
      line(
        'third',
        3,
        polyline([
          [-half + 2, (deck + base) / 2],
          [half - 2, (deck + base) / 2],
        ]),
      ),
    );
  parts.push(surface('third', ellipse(half - 3, deck + 5, 3)));
  const radius = rng.between(8.5, 12);
  for (const x of [-half * 0.58, half * 0.58]) {
    parts.push(surface('dark', ellipse(x, base, radius)), surface('second', ellipse(x, base, radius * 0.5)));
    if (rng.chance(0.4)) parts.push(surface('dark', ellipse(x, base, radius * 0.18)));
  }
  return parts;
};
