/** Points with their names on two logarithmic axes, as a standalone SVG. */

import { SERIES_COLOURS } from './colour-map.js';
import { element, type Figure, figure, label, textWidth, tick } from './svg.js';

export interface ScatterPoint {
  x: number;
  y: number;
  /** beside the point */
  text: string;
  /** points of one group have one colour, and a row of the legend where there are several groups */
  group: string;
}

export interface ScatterOptions {
  title: string;
  x: string;
  y: string;
  width?: number;
  height?: number;
}

const MARGIN = { top: 34, right: 16, bottom: 40, left: 56 };

export function scatterChart(points: readonly ScatterPoint[], options: ScatterOptions): Figure {
  const { title, width = 640, height = 420 } = options;
  const groups = [...new Set(points.map(({ group }) => group))];
  const legend = groups.length > 1 ? 24 : 0;
  const [left, right] = [MARGIN.left, width - MARGIN.right];
  const [top, bottom] = [MARGIN.top + legend, height - MARGIN.bottom];
  const x = logScale(
    points.map((point) => point.x),
    left,
    right,
  );
  const y = logScale(
    points.map((point) => point.y),
    bottom,
    top,
  );
  const grid = [
    ...x.ticks.map((value) => [
      element('line', {
        x1: x.at(value),
        x2: x.at(value),
        y1: top,
        y2: bottom,
        stroke: 'currentColor',
        'stroke-opacity': 0.14,
      }),
      label(x.at(value), bottom + 14, tick(value), { 'font-size': 10, 'text-anchor': 'middle' }),
    ]),
    ...y.ticks.map((value) => [
      element('line', {
        x1: left,
        x2: right,
        y1: y.at(value),
        y2: y.at(value),
        stroke: 'currentColor',
        'stroke-opacity': 0.14,
      }),
      label(left - 6, y.at(value) + 3, tick(value), { 'font-size': 10, 'text-anchor': 'end' }),
    ]),
  ].flat();
  const placed: Box[] = [];
  const marks = points.map((point) => {
    const [px, py] = [x.at(point.x), y.at(point.y)];
    const at = freePlace(px, py, point.text, placed, { left, right, top, bottom });
    placed.push(at);
    const fill = SERIES_COLOURS[groups.indexOf(point.group) % SERIES_COLOURS.length];
    return (
      element('circle', { cx: px, cy: py, r: 4.5, fill }) +
      label(at.left, at.bottom - 3, point.text, { 'font-size': 10 })
    );
  });
  let next = left;
  const rows =
    legend === 0
      ? []
      : groups.map((group, i) => {
          const start = next;
          next += textWidth(group) + 26;
          return (
            element('circle', {
              cx: start + 5,
              cy: MARGIN.top - 2,
              r: 4.5,
              fill: SERIES_COLOURS[i % SERIES_COLOURS.length],
            }) + label(start + 14, MARGIN.top + 2, group)
          );
        });
  return figure(
    width,
    height,
    title,
    label(0, 12, title, { 'font-size': 13, 'font-weight': 600 }),
    ...rows,
    label(2, top - 8, options.y, { 'font-size': 10 }),
    label((left + right) / 2, height - 8, options.x, { 'font-size': 10, 'text-anchor': 'middle' }),
    ...grid,
    ...marks,
  );
}

interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** A place for the text beside its point where it covers no other text and stays inside, else to the right. */
function freePlace(x: number, y: number, text: string, taken: readonly Box[], frame: Box): Box {
  const wide = textWidth(text, 10);
  const box = (left: number, bottom: number): Box => ({ left, right: left + wide, top: bottom - 12, bottom });
  const places = [6, -6, 18, -18].flatMap((shift) => [box(x + 8, y + shift), box(x - 8 - wide, y + shift)]);
  const fits = (place: Box) =>
    place.left >= frame.left &&
    place.right <= frame.right &&
    place.top >= frame.top &&
    place.bottom <= frame.bottom &&
    taken.every(
      (other) =>
        place.right < other.left ||
        place.left > other.right ||
        place.bottom < other.top ||
        place.top > other.bottom,
    );
  return places.find(fits) ?? places[0];
}

/** Steps within a decade: the coarsest that give three ticks or more are taken. */
const TICK_STEPS: readonly (readonly number[])[] = [
  [1, 2, 5],
  [1, 2, 3, 4, 5, 6, 7, 8, 9],
  Array.from({ length: 18 }, (_, i) => 1 + i / 2),
];

/** Values to pixels, logarithmic, with a little room at both ends. */
function logScale(values: readonly number[], from: number, to: number) {
  const [low, high] = [Math.min(...values) / 1.4, Math.max(...values) * 1.4];
  const decades = Array.from(
    { length: Math.ceil(Math.log10(high)) - Math.floor(Math.log10(low)) + 1 },
    (_, i) => Math.floor(Math.log10(low)) + i,
  );
  const choices = TICK_STEPS.map((steps) =>
    decades
      .flatMap((decade) => steps.map((step) => Number((step * 10 ** decade).toPrecision(2))))
      .filter((value) => value >= low && value <= high),
  );
  return {
    at: (value: number) => from + ((to - from) * Math.log(value / low)) / Math.log(high / low),
    ticks: choices.find((ticks) => ticks.length >= 3) ?? choices[choices.length - 1],
  };
}
