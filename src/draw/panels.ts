/** Pictures of one size side by side, each with a title and a mark, wrapped into rows. */

import type { Picture } from './picture.js';
import { placeMark } from './place-mark.js';
import { dataUri } from './png.js';
import { element, type Figure, figure, fitText, label } from './svg.js';

export interface Panel {
  title: string;
  picture: Picture;
  /** A point to mark, as shares of width and height. */
  mark?: readonly [x: number, y: number];
}

export interface PanelLayout {
  columns?: number;
  /** side of each picture, in pixels of the figure */
  side?: number;
}

const GAP = 10;
const TITLE = 16;

/** The panels as SVG, and the room that they take. */
export async function drawPanels(
  panels: readonly Panel[],
  { columns = 4, side = 150 }: PanelLayout = {},
): Promise<{ drawn: string[]; width: number; height: number }> {
  const across = Math.min(columns, panels.length);
  const tall = side + 20;
  const drawn = await Promise.all(
    panels.map(async ({ title, picture, mark }, i) => {
      const x = (i % across) * (side + GAP);
      const y = Math.floor(i / across) * (tall + GAP);
      const image = element('image', {
        x,
        y: y + TITLE,
        width: side,
        height: side,
        href: await dataUri(picture),
        style: 'image-rendering:pixelated',
      });
      return label(x, y + 11, fitText(title, side)) + image + placeMark(mark, x, y + TITLE, side);
    }),
  );
  const rows = Math.ceil(panels.length / across);
  return { drawn, width: across * (side + GAP) - GAP, height: rows * (tall + GAP) };
}

export async function panelFigure(
  panels: readonly Panel[],
  title: string,
  layout: PanelLayout = {},
): Promise<Figure> {
  const { drawn, width, height } = await drawPanels(panels, layout);
  return figure(width, height - GAP, title, ...drawn);
}
