/** A flower: petals round a heart, stem and leaves. */

import { line, type ObjectMaker, type Part, surface } from '../part.js';
import { arc, around, ellipse, type Point, petal } from '../shapes.js';

export const flower: ObjectMaker = (rng) => {
  const parts: Part[] = [];
  const bend = rng.between(-10, 10);
  const heart: Point = [rng.between(-4, 4), -16];
  parts.push(line('second', rng.between(3, 5), arc(heart, [bend, 14], [bend * 0.6, 47])));
  for (const side of rng.pick([[0], [180], [0, 180]]))
    parts.push(
      surface(
        'second',
        petal(
          [bend * 0.8, rng.between(22, 34)],
          side + (side === 0 ? -1 : 1) * rng.between(20, 45),
          rng.between(18, 26),
          14,
          rng.chance(0.6),
        ),
      ),
    );
  const count = rng.integer(5, 9);
  const length = rng.between(24, 30);
  const phase = rng.between(0, 90);
  const pointed = rng.chance(0.45);
  const width = (pointed ? 1.35 : 1) * Math.min(22, (2 * Math.PI * length * 0.62) / count);
  for (let i = 0; i < count; i++)
    parts.push(surface('main', petal(heart, phase + (360 * i) / count, length, width, pointed)));
  if (rng.chance(0.3))
    for (let i = 0; i < count; i++)
      parts.push(
        surface('light', petal(heart, phase + (360 * (i + 0.5)) / count, length * 0.6, width * 0.5, pointed)),
      );
  const eye = rng.between(6.5, 10);
  parts.push(surface('third', ellipse(heart[0], heart[1], eye)));
  if (rng.chance(0.5))
    for (const [x, y] of around(heart[0], heart[1], eye * 0.55, 6))
      parts.push(surface('dark', ellipse(x, y, 1.3)));
  return parts;
};
