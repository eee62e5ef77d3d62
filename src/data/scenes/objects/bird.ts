/** A standing bird: body, head, beak, wing, tail and legs. */

import { line, type ObjectMaker, type Part, surface } from '../part.js';
import { ellipse, type Point, petal, polygon, polyline, smooth } from '../shapes.js';

export const bird: ObjectMaker = (rng) => {
  const parts: Part[] = [];
  const length = rng.between(24, 30);
  const height = rng.between(14, 20);
  const head: Point = [-length * rng.between(0.8, 1), -height - rng.between(2, 10)];
  const skull = rng.between(9.5, 13);
  for (const x of [-4, 6])
    parts.push(
      line(
        'third',
        2.6,
        polyline([
          [x, height - 3],
          [x + rng.between(-3, 3), height + 16],
          [x - 7, height + 18],
        ]),
      ),
    );
  const tail = rng.between(-16, 6);
  parts.push(
    surface(
      'second',
      polygon([
        [length * 0.6, -6],
        [length + 20, tail - 7],
        [length + 18, tail + 7],
        [length * 0.6, 8],
      ]),
    ),
  );
  parts.push(
    surface(
      'main',
      smooth([
        [-length, -4],
        [-length * 0.4, -height],
        [length * 0.5, -height * 0.7],
        [length, 0],
        [length * 0.4, height * 0.9],
        [-length * 0.5, height],
      ]),
    ),
  );
  parts.push(
    surface(
      'main',
      polygon([
        [head[0] - 5, head[1]],
        [head[0] + 8, head[1] - 4],
        [-length * 0.2, -height * 0.6],
        [-length * 0.95, 0],
      ]),
    ),
  );
  parts.push(
    surface(
      'third',
      polygon([
        [head[0] - skull * 0.7, head[1] - 4],
        [head[0] - skull - rng.between(9, 16), head[1] + 1],
        [head[0] - skull * 0.7, head[1] + 5],
      ]),
    ),
  );
  parts.push(surface('main', ellipse(head[0], head[1], skull)));
  if (rng.chance(0.4))
    parts.push(surface('second', petal([head[0] + 2, head[1] - skull + 2], -60, 14, 9, true)));
  const wing = rng.between(18, 26);
  if (rng.chance(0.45))
    parts.push(
      surface(
        'second',
        polygon([
          [-8, -4],
          [rng.between(8, 18), -height - wing],
          [14, 0],
        ]),
      ),
    );
  else parts.push(surface('second', petal([-10, -2], rng.between(5, 30), wing + 6, 15, rng.chance(0.5))));
  parts.push(
    surface('light', ellipse(head[0] - 2.5, head[1] - 2, 3.6)),
    surface('dark', ellipse(head[0] - 3, head[1] - 2, 2)),
  );
  return parts;
};
