/** Dots over whole numbers, e.g. one for each head of each layer, with their means as a line. */

import { plot, tools } from './chart-tools.js';
import { SERIES_COLOURS } from './colour-map.js';
import { element, type Figure, figure, label } from './svg.js';

export interface DotChartOptions {
  title: string;
  x: string;
  y: string;
  width?: number;
  height?: number;
}

/** `columns[i]` are the values over x = i. */
export async function dotChart(
  columns: readonly ArrayLike<number>[],
  { title, x, y, width = 480, height = 250 }: DotChartOptions,
): Promise<Figure> {
  const { Plot, document } = await tools();
  const dots = columns.flatMap((values, i) => Array.from(values, (value) => ({ x: i, y: value })));
  const means = columns.map((values, i) => ({
    x: i,
    y: Array.from(values).reduce((sum, value) => sum + value, 0) / Math.max(1, values.length),
  }));
  const plotted = Plot.plot({
    document,
    width,
    height,
    marginTop: 22,
    marginLeft: 52,
    marginBottom: 34,
    x: {
      domain: [-0.5, columns.length - 0.5],
      label: x,
      labelArrow: 'none',
      labelAnchor: 'center',
      ticks: columns.map((_, i) => i),
      tickFormat: String,
    },
    y: { label: null, grid: true, zero: true },
    marks: [
      Plot.line(means, { x: 'x', y: 'y', stroke: SERIES_COLOURS[1], strokeWidth: 2 }),
      Plot.dot(dots, { x: 'x', y: 'y', r: 2.6, fill: SERIES_COLOURS[0], fillOpacity: 0.65 }),
    ],
  });
  return figure(
    width,
    height + 18,
    title,
    label(0, 12, title, { 'font-size': 13, 'font-weight': 600 }),
    element('g', { transform: 'translate(0 18)' }, label(2, 12, y, { 'font-size': 10 }), plot(plotted)),
  );
}
