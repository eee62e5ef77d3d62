/** Which region of one view matches which of another: two pictures and lines coloured by similarity. */

import { type ColourMapName, cssColour, mapColour } from './colour-map.js';
import { colourBar } from './heat-map.js';
import type { Picture } from './picture.js';
import { dataUri } from './png.js';
import { element, type Figure, figure, label } from './svg.js';

/** Places are shares of a picture's width and height, 0..1. */
export interface Match {
  from: readonly [x: number, y: number];
  to: readonly [x: number, y: number];
  similarity: number;
}

export interface CorrespondenceOptions {
  title: string;
  leftTitle?: string;
  rightTitle?: string;
  /** Where the whole picture's feature matches best, in the left and the right view. */
  focus?: { from: readonly [x: number, y: number]; to: readonly [x: number, y: number] };
  map?: ColourMapName;
  /** Ends of the colour scale; the matches' own extremes unless given. */
  low?: number;
  high?: number;
  /** Side of each picture in the figure. */
  side?: number;
}

export async function correspondenceFigure(
  left: Picture,
  right: Picture,
  matches: readonly Match[],
  options: CorrespondenceOptions,
): Promise<Figure> {
  const { title, leftTitle = 'view 1', rightTitle = 'view 2', focus, map, side = 280 } = options;
  const between = side * 0.22;
  const top = 18;
  const width = side * 2 + between;
  const similarities = matches.map((match) => match.similarity);
  const low = options.low ?? Math.min(...similarities, 1);
  const high = options.high ?? Math.max(...similarities, low);
  const boxOf = (picture: Picture) => {
    const scale = side / Math.max(picture.width, picture.height);
    return { width: picture.width * scale, height: picture.height * scale };
  };
  const [leftBox, rightBox] = [boxOf(left), boxOf(right)];
  const rightX = side + between;
  const image = async (picture: Picture, x: number) =>
    element('image', {
      x,
      y: top,
      ...boxOf(picture),
      href: await dataUri(picture),
      style: 'image-rendering:pixelated',
    });
  const place = (point: readonly [number, number], box: { width: number; height: number }, x: number) =>
    [x + point[0] * box.width, top + point[1] * box.height] as const;

  // The surest matches come last, on top; all dots lie above all lines.
  const drawn = [...matches]
    .sort((a, b) => a.similarity - b.similarity)
    .map(({ from, to, similarity }) => {
      const colour = cssColour(mapColour(high > low ? (similarity - low) / (high - low) : 1, map));
      const [x1, y1] = place(from, leftBox, 0);
      const [x2, y2] = place(to, rightBox, rightX);
      const stroke = (paint: string, width: number, opacity: number) =>
        element('line', { x1, y1, x2, y2, stroke: paint, 'stroke-width': width, 'stroke-opacity': opacity });
      const dot = (cx: number, cy: number) =>
        element('circle', { cx, cy, r: 3, fill: colour, stroke: '#000000', 'stroke-width': 0.8 });
      return { line: stroke('#000000', 2.8, 0.35) + stroke(colour, 1.6, 1), dots: dot(x1, y1) + dot(x2, y2) };
    });
  const rings =
    focus === undefined
      ? []
      : [place(focus.from, leftBox, 0), place(focus.to, rightBox, rightX)].flatMap(([cx, cy]) => [
          element('circle', { cx, cy, r: 9, fill: 'none', stroke: '#000000', 'stroke-width': 4 }),
          element('circle', { cx, cy, r: 9, fill: 'none', stroke: '#ffffff', 'stroke-width': 2 }),
        ]);

  const bottom = top + Math.max(leftBox.height, rightBox.height) + 12;
  return figure(
    width,
    bottom + 26,
    title,
    label(0, 11, leftTitle),
    label(rightX, 11, rightTitle),
    await image(left, 0),
    await image(right, rightX),
    ...drawn.map(({ line }) => line),
    ...drawn.map(({ dots }) => dots),
    ...rings,
    colourBar(0, bottom, width, { low, high, map, title: 'cosine similarity of the matched regions' }),
  );
}
