/** A tree: trunk and one of four crowns, sometimes with fruit. */

import { line, type ObjectMaker, type Part, surface } from '../part.js';
import { around, ellipse, polygon, polyline, smooth } from '../shapes.js';

export const tree: ObjectMaker = (rng) => {
  const width = rng.between(4, 7);
  const parts: Part[] = [];
  const bend = rng.between(-6, 6);
  parts.push(
    surface(
      'second',
      polygon([
        [-width - 2, 46],
        [bend - width * 0.6, -8],
        [bend + width * 0.6, -8],
        [width + 2, 46],
      ]),
    ),
  );
  if (rng.chance(0.5))
    parts.push(
      line(
        'second',
        3.5,
        polyline([
          [bend * 0.6, 20],
          [rng.pick([-20, 20]), 4],
        ]),
      ),
    );
  const kind = rng.integer(0, 3);
  if (kind === 0) {
    const tiers = rng.integer(3, 4);
    for (let i = 0; i < tiers; i++) {
      const low = 20 - i * (58 / tiers) + 6;
      const reach = rng.between(28, 34) * (1 - (i * 0.62) / tiers);
      parts.push(
        surface(
          'main',
          polygon([
            [-reach, low],
            [bend * 0.5, low - 30],
            [reach, low],
          ]),
        ),
      );
    }
  } else if (kind === 1) {
    const radius = rng.between(23, 28);
    const bumps = around(bend, -16, radius, rng.integer(8, 11), rng.between(0, 40));
    parts.push(
      surface('main', smooth(bumps.map(([x, y]) => [x + rng.between(-5, 5), y + rng.between(-5, 5)]))),
    );
  } else if (kind === 2) {
    for (const [x, y] of around(bend, -16, rng.between(13, 16), rng.integer(5, 6), rng.between(0, 60)))
      parts.push(surface('main', ellipse(x, y, rng.between(12, 16))));
    parts.push(surface('main', ellipse(bend, -16, 14)));
  } else parts.push(surface('main', ellipse(bend, -14, rng.between(15, 20), rng.between(30, 34))));
  const dots = rng.pick([0, 0, 5, 8]);
  for (let i = 0; i < dots; i++)
    parts.push(
      surface(
        'third',
        ellipse(bend + rng.between(-13, 13), -14 + rng.between(-15, 15), rng.between(2.4, 3.6)),
      ),
    );
  return parts;
};
