/** A fish: body, tail, fins, and one of four patterns. */

import { line, type ObjectMaker, type Part, surface } from '../part.js';
import { arc, ellipse, type Point, petal, polygon, smooth } from '../shapes.js';

export const fish: ObjectMaker = (rng) => {
  const length = rng.between(30, 36);
  const height = rng.between(14, 25);
  const parts: Part[] = [];
  const tail = rng.between(13, 22);
  const root = length - 10;
  if (rng.chance(0.6)) {
    const notch = rng.between(root + 4, root + 14);
    parts.push(
      surface(
        'second',
        polygon([
          [root, 0],
          [root + 20, -tail],
          [notch, 0],
          [root + 20, tail],
        ]),
      ),
    );
  } else parts.push(surface('second', petal([root - 4, 0], 0, 28, tail, false)));
  const fin = rng.between(8, 16);
  parts.push(
    surface(
      'second',
      polygon([
        [-12, -height * 0.7],
        [rng.between(0, 12), -height - fin],
        [16, -height * 0.6],
      ]),
    ),
  );
  if (rng.chance(0.6))
    parts.push(
      surface(
        'second',
        polygon([
          [-4, height * 0.7],
          [rng.between(2, 12), height + fin * 0.8],
          [12, height * 0.6],
        ]),
      ),
    );
  const body: Point[] = [
    [-length - 4, 0],
    [-length * 0.5, -height * 0.85],
    [4, -height],
    [length, -3],
    [length, 3],
    [4, height],
    [-length * 0.5, height * 0.85],
  ];
  parts.push(surface('main', smooth(body)));
  const pattern = rng.integer(0, 3);
  if (pattern === 1)
    for (let x = -6; x < length - 8; x += rng.between(9, 12)) {
      const reach = height * (1 - ((x + 2) / length) ** 2) * 0.8;
      parts.push(line('third', 3.5, arc([x, -reach], [x + 5, 0], [x, reach])));
    }
  if (pattern === 2)
    for (let i = 0; i < 6; i++)
      parts.push(
        surface(
          'third',
          ellipse(rng.between(-10, 20), rng.between(-height * 0.5, height * 0.5), rng.between(2, 3.5)),
        ),
      );
  if (pattern === 3)
    parts.push(
      surface(
        'third',
        smooth([
          [-8, 2],
          [4, -2],
          [12, 4],
          [2, 9],
        ]),
      ),
    );
  parts.push(
    line(
      'dark',
      2.5,
      arc([-length * 0.45, -height * 0.5], [-length * 0.25, 0], [-length * 0.45, height * 0.5]),
    ),
  );
  parts.push(
    surface('light', ellipse(-length * 0.7, -height * 0.25, 4.6)),
    surface('dark', ellipse(-length * 0.72, -height * 0.25, 2.4)),
  );
  return parts;
};
