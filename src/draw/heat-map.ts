/** Grids of numbers as colour: alone, laid over a picture, and with the scale that says what a colour means. */

import { internal } from '../errors.js';
import { type ColourMapName, cssColour, mapColour } from './colour-map.js';
import { drawPanels, type Panel, type PanelLayout } from './panels.js';
import type { Picture } from './picture.js';
import { element, type Figure, figure, label, textWidth, tick } from './svg.js';

export interface Grid {
  /** Row-major, height × width. */
  values: ArrayLike<number>;
  width: number;
  height: number;
}

export interface HeatOptions {
  map?: ColourMapName;
  /** Values at the two ends of the map; the grid's own extremes unless given. */
  low?: number;
  high?: number;
}

/** One pixel a cell. */
export function heatMap(grid: Grid, options: HeatOptions = {}): Picture {
  const { low, high } = rangeOf(grid, options);
  const data = new Uint8Array(grid.width * grid.height * 3);
  for (let i = 0; i < grid.values.length; i++)
    data.set(mapColour(share(grid.values[i], low, high), options.map), i * 3);
  return { width: grid.width, height: grid.height, data };
}

export interface OverlayOptions extends HeatOptions {
  /** How much of the picture the colours hide, 0..1. */
  opacity?: number;
  /** Keep cells as blocks instead of blending between their centres. */
  blocks?: boolean;
}

/** The grid stretched over `picture`, as colour on its greyed pixels. */
export function overlay(picture: Picture, grid: Grid, options: OverlayOptions = {}): Picture {
  const { opacity = 0.6, blocks = false, map } = options;
  const { low, high } = rangeOf(grid, options);
  const data = new Uint8Array(picture.data.length);
  for (let y = 0; y < picture.height; y++)
    for (let x = 0; x < picture.width; x++) {
      const value = sample(
        grid,
        ((x + 0.5) * grid.width) / picture.width,
        ((y + 0.5) * grid.height) / picture.height,
        blocks,
      );
      const colour = mapColour(share(value, low, high), map);
      const i = (y * picture.width + x) * 3;
      const grey = 0.299 * picture.data[i] + 0.587 * picture.data[i + 1] + 0.114 * picture.data[i + 2];
      for (let c = 0; c < 3; c++) data[i + c] = Math.round(grey * (1 - opacity) + colour[c] * opacity);
    }
  return { width: picture.width, height: picture.height, data };
}

/** Bilinear between cell centres; (x, y) in cells. */
function sample({ values, width, height }: Grid, x: number, y: number, blocks: boolean): number {
  const cell = (column: number, row: number) =>
    values[Math.max(0, Math.min(height - 1, row)) * width + Math.max(0, Math.min(width - 1, column))];
  if (blocks) return cell(Math.floor(x), Math.floor(y));
  const [left, top] = [Math.floor(x - 0.5), Math.floor(y - 0.5)];
  const [dx, dy] = [x - 0.5 - left, y - 0.5 - top];
  const upper = cell(left, top) * (1 - dx) + cell(left + 1, top) * dx;
  const lower = cell(left, top + 1) * (1 - dx) + cell(left + 1, top + 1) * dx;
  return upper * (1 - dy) + lower * dy;
}

function rangeOf({ values, width, height }: Grid, options: HeatOptions): { low: number; high: number } {
  if (values.length !== width * height)
    throw internal(`a ${width}x${height} grid with ${values.length} values`);
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < values.length; i++)
    if (Number.isFinite(values[i])) [low, high] = [Math.min(low, values[i]), Math.max(high, values[i])];
  return { low: options.low ?? low, high: options.high ?? high };
}

const share = (value: number, low: number, high: number): number =>
  high > low ? (value - low) / (high - low) : 0.5;

/** The scale of a map as SVG, `width` by 26, its corner at (x, y). */
export function colourBar(
  x: number,
  y: number,
  width: number,
  { low, high, map = 'viridis', title }: { low: number; high: number; map?: ColourMapName; title?: string },
): string {
  const steps = 48;
  const cells = Array.from({ length: steps }, (_, i) =>
    element('rect', {
      x: x + (i * width) / steps,
      y,
      width: width / steps + 0.4, // no hairlines between neighbours
      height: 10,
      fill: cssColour(mapColour((i + 0.5) / steps, map)),
    }),
  );
  const digits = [2, 3, 4, 5].find((count) => tick(low, count) !== tick(high, count)) ?? 6;
  const ends = [
    label(x, y + 23, tick(low, digits)),
    label(x + width, y + 23, tick(high, digits), { 'text-anchor': 'end' }),
  ];
  if (title !== undefined) ends.push(label(x + width / 2, y + 23, title, { 'text-anchor': 'middle' }));
  return cells.join('') + ends.join('');
}

/** Panels of one size side by side, wrapped after `columns`, over one colour scale. */
export async function heatFigure(
  panels: readonly Panel[],
  scale: { low: number; high: number; map?: ColourMapName; title: string },
  layout: PanelLayout = {},
): Promise<Figure> {
  const { drawn, width: across, height } = await drawPanels(panels, layout);
  const width = Math.max(across, textWidth(scale.title) + 90);
  return figure(width, height + 28, scale.title, ...drawn, colourBar(0, height, width, scale));
}
