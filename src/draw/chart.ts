/** Line and bar charts as standalone SVG, drawn by Observable Plot on a DOM without a browser. */

import { plot, tools } from './chart-tools.js';
import { SERIES_COLOURS, SERIES_DASHES } from './colour-map.js';
import { element, type Figure, figure, label, textWidth, tick } from './svg.js';

export interface Series {
  name: string;
  x: ArrayLike<number>;
  /** Values that are not finite leave a gap. */
  y: ArrayLike<number>;
  /** A thin background line of the next series, e.g. the raw values under their mean; not in the legend. */
  faint?: boolean;
}

export interface ReferenceLine {
  y: number;
  text: string;
}

export interface LineChartOptions {
  title: string;
  x: string;
  y: string;
  width?: number;
  height?: number;
  /** Levels to compare with; the y axis always reaches them. */
  references?: readonly ReferenceLine[];
  /** Values that the y axis must include, e.g. 0. */
  include?: readonly number[];
  logarithmic?: boolean;
}

interface Row {
  x: number;
  y: number;
}

export async function lineChart(series: readonly Series[], options: LineChartOptions): Promise<Figure> {
  const { title, width = 420, height = 250, references = [], include = [], logarithmic = false } = options;
  const { Plot, document } = await tools();
  let next = 0;
  const styled = series.map((one) => {
    const index = (one.faint ? next : next++) % SERIES_COLOURS.length;
    return {
      ...one,
      stroke: SERIES_COLOURS[index],
      dash: SERIES_DASHES[index],
      rows: rowsOf(one, logarithmic),
    };
  });
  const ys = [
    ...styled.flatMap(({ rows }) => rows.map((row) => row.y)).filter(Number.isFinite),
    ...references.map((line) => line.y),
    ...include,
  ];
  const xs = styled.flatMap(({ rows }) => rows.map((row) => row.x));
  const domain = padded(extent(ys), logarithmic);
  const levels = logarithmic ? logTicks(domain) : undefined;
  const plotted = Plot.plot({
    document,
    width,
    height,
    marginTop: 22,
    marginRight: 14,
    marginBottom: 34,
    marginLeft: 52,
    x: { domain: extent(xs), label: options.x, labelArrow: 'none', labelAnchor: 'center', ticks: 6 },
    y: {
      domain,
      type: logarithmic ? 'log' : 'linear',
      label: null,
      ticks: levels ?? 5,
      tickFormat: (value: number) => tick(value),
    },
    marks: [
      Plot.gridY({ ticks: levels ?? 5, strokeOpacity: 0.14 }),
      Plot.ruleY(
        references.map((line) => line.y),
        { stroke: 'currentColor', strokeDasharray: '4 3', strokeOpacity: 0.75 },
      ),
      Plot.text([...references], {
        x: () => extent(xs)[1],
        y: 'y',
        text: 'text',
        textAnchor: 'end',
        dy: -6,
        fill: 'currentColor',
      }),
      ...styled.map(({ rows, stroke, dash, faint }) =>
        Plot.line(rows, {
          x: 'x',
          y: 'y',
          stroke,
          strokeWidth: faint ? 1 : 2,
          strokeOpacity: faint ? 0.35 : 1,
          strokeDasharray: faint || dash === '' ? undefined : dash,
        }),
      ),
    ],
  });
  const shown = styled.filter((one) => !one.faint);
  const legend = shown.length > 1 ? legendRows(shown, width) : { svg: '', height: 0 };
  const head = 18 + legend.height;
  return figure(
    width,
    height + head,
    title,
    label(0, 12, title, { 'font-size': 13, 'font-weight': 600 }),
    element('g', { transform: 'translate(0 18)' }, legend.svg),
    element(
      'g',
      { transform: `translate(0 ${head})` },
      label(2, 12, options.y, { 'font-size': 10 }),
      plot(plotted),
    ),
  );
}

export interface Bar {
  name: string;
  value: number;
  /** Half the width of the uncertainty, drawn as a whisker. */
  error?: number;
}

export interface BarChartOptions {
  title: string;
  x: string;
  /** The axis runs from 0 to here. */
  most: number;
  format: (value: number) => string;
  reference?: { value: number; text: string };
  width?: number;
}

/** Horizontal bars from zero, each with its value in figures. */
export async function barChart(bars: readonly Bar[], options: BarChartOptions): Promise<Figure> {
  const { title, x, most, format, reference, width = 560 } = options;
  const { Plot, document } = await tools();
  const height = bars.length * 34 + 58;
  const plotted = Plot.plot({
    document,
    width,
    height,
    marginTop: 18,
    marginLeft: Math.min(width * 0.4, Math.max(...bars.map((bar) => textWidth(bar.name))) + 12),
    marginRight: 24,
    marginBottom: 36,
    x: { domain: [0, most], label: x, labelArrow: 'none', labelAnchor: 'center', ticks: 6 },
    y: { domain: bars.map((bar) => bar.name), label: null, padding: 0.28, tickSize: 0 },
    marks: [
      Plot.gridX({ strokeOpacity: 0.14, ticks: 6 }),
      Plot.barX([...bars], {
        x: 'value',
        y: 'name',
        fill: (bar: Bar) => (bar === bars.at(-1) ? SERIES_COLOURS[0] : SERIES_COLOURS[5]),
      }),
      Plot.ruleY(
        bars.filter((bar) => bar.error !== undefined),
        {
          y: 'name',
          x1: (bar: Bar) => Math.max(0, bar.value - (bar.error ?? 0)),
          x2: (bar: Bar) => Math.min(most, bar.value + (bar.error ?? 0)),
          stroke: 'currentColor',
          strokeWidth: 1.5,
        },
      ),
      Plot.text([...bars], {
        x: (bar: Bar) => Math.min(most, bar.value + (bar.error ?? 0)),
        y: 'name',
        text: (bar: Bar) => format(bar.value),
        textAnchor: 'start',
        dx: 6,
        fontWeight: 600,
        fill: 'currentColor',
      }),
      ...(reference === undefined
        ? []
        : [
            Plot.ruleX([reference.value], { stroke: 'currentColor', strokeDasharray: '4 3' }),
            Plot.text([reference], {
              x: 'value',
              text: 'text',
              frameAnchor: 'top',
              dy: -12,
              fill: 'currentColor',
            }),
          ]),
    ],
  });
  return figure(
    width,
    height + 18,
    title,
    label(0, 12, title, { 'font-size': 13, 'font-weight': 600 }),
    element('g', { transform: 'translate(0 18)' }, plot(plotted)),
  );
}

/** Running mean over `span` values on both sides; leaves the length as it is and skips gaps. */
export function smoothed(values: ArrayLike<number>, span: number): Float64Array {
  return Float64Array.from({ length: values.length }, (_, i) => {
    let sum = 0;
    let count = 0;
    for (let j = Math.max(0, i - span); j <= Math.min(values.length - 1, i + span); j++)
      if (Number.isFinite(values[j])) {
        sum += values[j];
        count++;
      }
    return count === 0 ? Number.NaN : sum / count;
  });
}

/** Both packages take half a second to load, so only those who draw charts pay for them. */
/** At most about a thousand points: more are not seen, and make reports heavy. */
function rowsOf({ x, y }: Series, logarithmic: boolean): Row[] {
  const step = Math.max(1, Math.ceil(y.length / 1000));
  const rows: Row[] = [];
  for (let i = 0; i < y.length; i++) {
    if (i % step !== 0 && i !== y.length - 1) continue;
    const drawable = Number.isFinite(y[i]) && (!logarithmic || y[i] > 0);
    rows.push({ x: x[i], y: drawable ? y[i] : Number.NaN });
  }
  return rows;
}

function extent(values: readonly number[]): [number, number] {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return [0, 1];
  // Not Math.min(...values): a long run has more values than a call can have arguments.
  return [finite.reduce((a, b) => Math.min(a, b)), finite.reduce((a, b) => Math.max(a, b))];
}

function padded([low, high]: [number, number], logarithmic: boolean): [number, number] {
  if (logarithmic) return [low / 1.2, high * 1.2];
  const room = high > low ? (high - low) * 0.07 : Math.max(1e-6, Math.abs(low) * 0.05);
  return [low === 0 ? 0 : low - room, high + room];
}

function legendRows(series: readonly { name: string; stroke: string; dash: string }[], width: number) {
  let [x, y] = [2, 12];
  const pieces: string[] = [];
  for (const { name, stroke, dash } of series) {
    const room = 30 + textWidth(name) + 10;
    if (x > 2 && x + room > width) [x, y] = [2, y + 15];
    pieces.push(
      element('line', {
        x1: x,
        x2: x + 22,
        y1: y - 4,
        y2: y - 4,
        stroke,
        'stroke-width': 2.2,
        'stroke-dasharray': dash === '' ? undefined : dash,
      }),
      label(x + 27, y, name),
    );
    x += room;
  }
  return { svg: pieces.join(''), height: y + 2 };
}

/** 1, 2 and 5 of every decade inside the domain; only the decades where that would be many. */
function logTicks([low, high]: readonly [number, number]): number[] {
  const steps = high / low > 1e3 ? [1] : [1, 2, 5];
  const ticks: number[] = [];
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.ceil(Math.log10(high)); decade++)
    for (const step of steps) ticks.push(Number((step * 10 ** decade).toPrecision(1)));
  return ticks.filter((value) => value >= low && value <= high);
}
