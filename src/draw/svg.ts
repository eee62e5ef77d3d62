/** SVG text from values: every attribute and every text is escaped here and nowhere else. */

/** A drawing that stands alone: `svg` is a whole document of `width` by `height` CSS pixels. */
export interface Figure {
  svg: string;
  width: number;
  height: number;
}

export const FONT = "system-ui, 'DejaVu Sans', sans-serif";

export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
    .replace(/[^\t\n\r\x20-\ud7ff\ue000-\u{10ffff}]/gu, '\ufffd'); // what XML cannot hold at all
}

/** Attributes of `undefined` are left out; numbers are rounded to 1/100. */
export type Attributes = Readonly<Record<string, string | number | undefined>>;

/** One element; `children` are finished SVG, so text goes through `escapeXml` or `label` first. */
export function element(name: string, attributes: Attributes, ...children: readonly string[]): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(
      ([key, value]) =>
        ` ${key}="${typeof value === 'number' ? Math.round(value * 100) / 100 : escapeXml(String(value))}"`,
    )
    .join('');
  return children.length === 0 ? `<${name}${written}/>` : `<${name}${written}>${children.join('')}</${name}>`;
}

/** A line of text. */
export function label(x: number, y: number, text: string, attributes: Attributes = {}): string {
  return element('text', { x, y, fill: 'currentColor', 'font-size': 11, ...attributes }, escapeXml(text));
}

/** A whole drawing; `title` is read out to those who do not see it. Text takes the page's colour. */
export function figure(width: number, height: number, title: string, ...children: readonly string[]): Figure {
  const svg = element(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      role: 'img',
      'aria-label': title,
      'font-family': FONT,
      'font-size': 11,
    },
    element('title', {}, escapeXml(title)),
    ...children,
  );
  return { svg, width, height };
}

/** About how wide `text` comes out, in pixels; a little more rather than less. */
export function textWidth(text: string, size = 11): number {
  return text.length * size * 0.62;
}

/** `text` cut to fit `width` pixels, with an ellipsis where it was longer. */
export function fitText(text: string, width: number, size = 11): string {
  const most = Math.max(1, Math.floor(width / (size * 0.62)));
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

/** A number short enough for an axis. */
export function tick(value: number, digits = 3): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-4) return value.toExponential(Math.max(0, digits - 2)).replace('e+', 'e');
  return String(Number(value.toPrecision(size >= 1000 ? 6 : digits)));
}
