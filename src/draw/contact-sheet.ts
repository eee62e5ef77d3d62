/** Rows of small pictures with labels and marks, as one figure. */

import { SERIES_COLOURS } from './colour-map.js';
import type { Picture } from './picture.js';
import { dataUri } from './png.js';
import { element, type Figure, figure, fitText, label } from './svg.js';

/** A right and a wrong answer differ in colour, in the frame's line and in the sign in the corner. */
export type Mark = 'right' | 'wrong' | 'query';

export interface SheetCell {
  picture: Picture;
  /** Below the picture. */
  text?: string;
  mark?: Mark;
}

export interface SheetRow {
  /** To the left of the row. */
  text?: string;
  cells: readonly SheetCell[];
}

export interface SheetOptions {
  title: string;
  /** Width of the largest picture on the sheet, in pixels; smaller ones keep their proportion. */
  side?: number;
  /** Words above the columns. */
  columns?: readonly string[];
  /** Empty space after the first column, e.g. between a query and its answers. */
  firstGap?: number;
  /** Pictures of at most half the largest one's height share a column, one below the other. */
  stack?: boolean;
}

const RIGHT = SERIES_COLOURS[2];
const WRONG = '#d1480c';
const SMALL = 9.5;

export async function contactSheet(rows: readonly SheetRow[], options: SheetOptions): Promise<Figure> {
  const { title, side = 64, columns = [], firstGap = 0, stack = false } = options;
  const cells = rows.flatMap((row) => row.cells);
  const largest = Math.max(1, ...cells.map(({ picture }) => Math.max(picture.width, picture.height)));
  const gap = 8;
  const textHeight = cells.some((cell) => cell.text !== undefined) ? 14 : 0;
  const margin = rows.some((row) => row.text !== undefined) ? 58 : 4;
  const high = (cell: SheetCell) => (cell.picture.height / largest) * side + textHeight;
  const placed = rows.map((row) =>
    inColumns(row.cells, (cell) => (stack ? Math.floor(side / high(cell)) : 1)),
  );

  const most = Math.max(1, columns.length, ...placed.map((row) => row.length));
  const widths = Array.from({ length: most }, (_, i) =>
    Math.max(
      24,
      ...placed.flatMap((row) => (row[i] ?? []).map(({ picture }) => (picture.width / largest) * side)),
    ),
  );
  const lefts = widths.map((_, i) =>
    widths.slice(0, i).reduce((x, w) => x + w + gap, margin + (i > 0 ? firstGap : 0)),
  );

  const drawn = columns.map((text, i) =>
    label(lefts[i] + widths[i] / 2, 12, fitText(text, widths[i] + gap, SMALL), {
      'text-anchor': 'middle',
      'font-size': SMALL,
    }),
  );
  let y = columns.length > 0 ? 20 : 4;
  for (const [r, row] of placed.entries()) {
    const text = rows[r].text;
    if (text !== undefined)
      drawn.push(label(0, y + 14, fitText(text, margin - 4, SMALL + 1), { 'font-size': SMALL + 1 }));
    let bottom = y;
    for (const [i, column] of row.entries()) {
      let down = y;
      for (const cell of column) {
        drawn.push(await cellSvg(cell, lefts[i], down, side, largest));
        down += high(cell) + gap;
      }
      bottom = Math.max(bottom, down);
    }
    y = bottom;
  }
  return figure(lefts[most - 1] + widths[most - 1] + 4, y, title, ...drawn);
}

/** Cells from left to right; where `room` is 2 or more, so many equally large neighbours share a column. */
function inColumns(cells: readonly SheetCell[], room: (cell: SheetCell) => number): SheetCell[][] {
  const columns: SheetCell[][] = [];
  for (const cell of cells) {
    const last = columns.at(-1);
    if (last !== undefined && last[0].picture.height === cell.picture.height && last.length < room(cell))
      last.push(cell);
    else columns.push([cell]);
  }
  return columns;
}

async function cellSvg(
  { picture, text, mark }: SheetCell,
  x: number,
  y: number,
  side: number,
  largest: number,
): Promise<string> {
  const width = (picture.width / largest) * side;
  const height = (picture.height / largest) * side;
  const href = await dataUri(picture);
  const pieces = [element('image', { x, y, width, height, href, style: 'image-rendering:pixelated' })];
  if (mark !== undefined) {
    const colour = { right: RIGHT, wrong: WRONG, query: 'currentColor' }[mark];
    pieces.push(
      element('rect', {
        x: x - 1.5,
        y: y - 1.5,
        width: width + 3,
        height: height + 3,
        rx: 2,
        fill: 'none',
        stroke: colour,
        'stroke-width': 2.5,
        'stroke-dasharray': mark === 'wrong' ? '5 3' : undefined,
      }),
    );
    if (mark !== 'query') pieces.push(sign(x + width - 6, y + 6, mark, colour));
  }
  if (text !== undefined)
    pieces.push(
      label(x + width / 2, y + height + 12, fitText(text, side + 6, SMALL), {
        'text-anchor': 'middle',
        'font-size': SMALL,
      }),
    );
  return pieces.join('');
}

/** A tick or a cross on a disc; drawn, because not every font has them. */
function sign(x: number, y: number, mark: 'right' | 'wrong', colour: string): string {
  const d = mark === 'right' ? `M${x - 3} ${y}l2.2 2.6l4-5` : `M${x - 2.6} ${y - 2.6}l5.2 5.2m0-5.2l-5.2 5.2`;
  return (
    element('circle', { cx: x, cy: y, r: 6, fill: colour, stroke: '#ffffff', 'stroke-width': 1 }) +
    element('path', { d, fill: 'none', stroke: '#ffffff', 'stroke-width': 1.8, 'stroke-linecap': 'round' })
  );
}
