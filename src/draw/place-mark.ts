/** The mark of a place in a picture. */

import { element } from './svg.js';

/** A ring that is seen on light and on dark, around a place of a square whose corner is at (x, y). */
export function placeMark(
  mark: readonly [x: number, y: number] | undefined,
  x: number,
  y: number,
  side: number,
): string {
  if (mark === undefined) return '';
  const ring = (r: number, stroke: string) =>
    element('circle', {
      cx: x + mark[0] * side,
      cy: y + mark[1] * side,
      r,
      fill: 'none',
      stroke,
      'stroke-width': 2,
    });
  return ring(6, '#000000') + ring(4, '#ffffff');
}
