/** A clock: one of three cases, dial, ticks and hands, sometimes bells and feet. */

import { line, type ObjectMaker, type Part, surface } from '../part.js';
import { around, ellipse, polygon, polyline, roundRect } from '../shapes.js';

export const clock: ObjectMaker = (rng) => {
  const parts: Part[] = [];
  const radius = rng.between(30, 37);
  const alarm = rng.chance(0.4);
  const cy = alarm ? 4 : 0;
  if (alarm) {
    for (const x of [-0.7, 0.7]) {
      parts.push(surface('third', ellipse(x * radius, cy - radius * 0.88, 10)));
      parts.push(
        line(
          'dark',
          4,
          polyline([
            [x * radius * 0.8, cy + radius * 0.7],
            [x * radius * 1.05, cy + radius + 8],
          ]),
        ),
      );
    }
  }
  const face = radius * rng.between(0.74, 0.86);
  const shape = rng.integer(0, 2);
  if (shape === 1) parts.push(surface('main', roundRect(-radius, cy - radius, 2 * radius, 2 * radius, 7)));
  else if (shape === 2) parts.push(surface('main', polygon(around(0, cy, radius + 3, 8, 22.5))));
  else parts.push(surface('main', ellipse(0, cy, radius)));
  parts.push(surface('light', ellipse(0, cy, face)));
  const ticks = rng.pick([4, 12, 12]);
  const outer = around(0, cy, face * 0.92, ticks, -90);
  const inner = around(0, cy, face * rng.between(0.72, 0.8), ticks, -90);
  outer.forEach((point, i) => {
    parts.push(line('dark', 2.4, polyline([point, inner[i]])));
  });
  const hour = around(0, cy, face * 0.48, 1, rng.between(0, 360))[0];
  const minute = around(0, cy, face * 0.74, 1, rng.between(0, 360))[0];
  parts.push(line('dark', 4.4, polyline([[0, cy], hour])), line('second', 3, polyline([[0, cy], minute])));
  parts.push(surface('dark', ellipse(0, cy, 3.2)));
  return parts;
};
