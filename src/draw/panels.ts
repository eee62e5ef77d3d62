/** Pictures of one size side by side, each with a title and a mark, wrapped into rows; no colour scale. */

import type { HeatPanel } from './heat-map.js';
import { placeMark } from './place-mark.js';
import { dataUri } from './png.js';
import { element, type Figure, figure, fitText, label } from './svg.js';

export async function panelFigure(
  panels: readonly HeatPanel[],
  title: string,
  { columns = 4, side = 150 }: { columns?: number; side?: number } = {},
): Promise<Figure> {
  const across = Math.min(columns, panels.length);
  const gap = 10;
  const tall = side + 20;
  const drawn = await Promise.all(
    panels.map(async ({ title: name, picture, mark }, i) => {
      const x = (i % across) * (side + gap);
      const y = Math.floor(i / across) * (tall + gap);
      const image = element('image', {
        x,
        y: y + 16,
        width: side,
        height: side,
        href: await dataUri(picture),
        style: 'image-rendering:pixelated',
      });
      return label(x, y + 11, fitText(name, side)) + image + placeMark(mark, x, y + 16, side);
    }),
  );
  const rows = Math.ceil(panels.length / across);
  return figure(across * (side + gap) - gap, rows * (tall + gap) - gap, title, ...drawn);
}
