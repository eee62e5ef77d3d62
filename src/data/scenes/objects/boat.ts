/** A boat: a hull under sails, or under a cabin with a funnel. */

import { line, type ObjectMaker, type Part, surface } from '../part.js';
import { arc, ellipse, polygon, polyline, rect } from '../shapes.js';

export const boat: ObjectMaker = (rng) => {
  const parts: Part[] = [];
  const deck = rng.between(14, 20);
  const keel = deck + rng.between(14, 20);
  const half = rng.between(34, 44);
  if (rng.chance(0.65)) {
    const mast = rng.between(-8, 6);
    const peak = -rng.between(38, 46);
    parts.push(
      line(
        'dark',
        3,
        polyline([
          [mast, deck],
          [mast, peak - 4],
        ]),
      ),
    );
    const boom = deck - rng.between(5, 8);
    parts.push(
      surface(
        'main',
        polygon([
          [mast + 3, peak],
          [mast + rng.between(24, 34), boom],
          [mast + 3, boom],
        ]),
      ),
    );
    if (rng.chance(0.75))
      parts.push(
        surface(
          'third',
          polygon([
            [mast - 3, peak + rng.between(4, 12)],
            [mast - rng.between(18, 26), boom],
            [mast - 3, boom],
          ]),
        ),
      );
    if (rng.chance(0.5))
      parts.push(
        surface(
          'second',
          polygon([
            [mast, peak - 5],
            [mast + 14, peak - 1],
            [mast, peak + 3],
          ]),
        ),
      );
  } else {
    const cabin = rng.between(-22, -14);
    parts.push(surface('main', rect(cabin, deck - 18, 38, 18)));
    for (const x of [6, 18, 30]) parts.push(surface('light', ellipse(cabin + x + 1, deck - 9, 3.4)));
    const funnel = cabin + rng.between(6, 20);
    parts.push(
      surface('third', rect(funnel, deck - 38, 11, 20)),
      surface('dark', rect(funnel, deck - 38, 11, 5)),
    );
    if (rng.chance(0.6))
      for (let i = 0; i < 3; i++)
        parts.push(surface('light', ellipse(funnel + 10 + i * 10, deck - 44 - i * 3, 4 + i * 1.6)));
  }
  const bow = rng.between(6, 14);
  parts.push(
    surface(
      'second',
      polygon([
        [-half, deck],
        [half, deck],
        [half - bow, keel],
        [-half + rng.between(5, 14), keel],
      ]),
    ),
  );
  if (rng.chance(0.5))
    parts.push(
      line(
        'light',
        3,
        polyline([
          [-half + 5, deck + 6],
          [half - 6, deck + 6],
        ]),
      ),
    );
  if (rng.chance(0.6)) {
    const y = keel + 4;
    const waves = Array.from({ length: 4 }, (_, i) =>
      arc([-46 + i * 23, y], [-34.5 + i * 23, y + 8], [-23 + i * 23, y]),
    );
    parts.push(line('light', 3, waves.join('')));
  }
  return parts;
};
