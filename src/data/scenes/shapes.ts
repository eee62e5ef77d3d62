/** SVG path data of simple shapes. */

export type Point = readonly [x: number, y: number];

const n = (value: number): string => String(Math.round(value * 100) / 100);
const at = ([x, y]: Point): string => `${n(x)} ${n(y)}`;

export function polygon(points: readonly Point[]): string {
  return `M${points.map(at).join('L')}Z`;
}

export function polyline(points: readonly Point[]): string {
  return `M${points.map(at).join('L')}`;
}

export function ellipse(cx: number, cy: number, rx: number, ry = rx): string {
  return `M${n(cx - rx)} ${n(cy)}a${n(rx)} ${n(ry)} 0 1 0 ${n(2 * rx)} 0a${n(rx)} ${n(ry)} 0 1 0 ${n(-2 * rx)} 0Z`;
}

/** A circle with a hole: drawn with the even-odd rule, which every part uses. */
export function ring(cx: number, cy: number, outer: number, inner: number): string {
  return ellipse(cx, cy, outer) + ellipse(cx, cy, inner);
}

export function rect(x: number, y: number, width: number, height: number): string {
  return `M${n(x)} ${n(y)}h${n(width)}v${n(height)}h${n(-width)}Z`;
}

/** A rectangle with its corners cut round by `radius`. */
export function roundRect(x: number, y: number, width: number, height: number, radius: number): string {
  const r = Math.min(radius, width / 2, height / 2);
  const corner = (dx: number, dy: number) => `a${n(r)} ${n(r)} 0 0 1 ${n(dx)} ${n(dy)}`;
  return (
    `M${n(x + r)} ${n(y)}h${n(width - 2 * r)}${corner(r, r)}v${n(height - 2 * r)}${corner(-r, r)}` +
    `h${n(2 * r - width)}${corner(-r, -r)}v${n(2 * r - height)}${corner(r, -r)}Z`
  );
}

/** A smooth closed outline through `points` (Catmull-Rom as cubic curves). */
export function smooth(points: readonly Point[]): string {
  const count = points.length;
  const pieces = points.map((start, i) => {
    const before = points[(i + count - 1) % count];
    const end = points[(i + 1) % count];
    const after = points[(i + 2) % count];
    const first: Point = [start[0] + (end[0] - before[0]) / 6, start[1] + (end[1] - before[1]) / 6];
    const second: Point = [end[0] - (after[0] - start[0]) / 6, end[1] - (after[1] - start[1]) / 6];
    return `C${at(first)} ${at(second)} ${at(end)}`;
  });
  return `M${at(points[0])}${pieces.join('')}Z`;
}

/** A quadratic arc from `start` to `end`, pulled towards `control`; not closed. */
export function arc(start: Point, control: Point, end: Point): string {
  return `M${at(start)}Q${at(control)} ${at(end)}`;
}

/** `count` points at `radius` around a centre; the first stands at `phase` degrees, clockwise from east. */
export function around(cx: number, cy: number, radius: number, count: number, phase = 0): Point[] {
  return Array.from({ length: count }, (_, i) => {
    const angle = ((phase + (360 * i) / count) * Math.PI) / 180;
    return [cx + radius * Math.cos(angle), cy + radius * Math.sin(angle)];
  });
}

/** A lens-shaped leaf or petal from `base`, `length` long and `width` wide, pointing to `degrees`. */
export function petal(base: Point, degrees: number, length: number, width: number, pointed: boolean): string {
  const angle = (degrees * Math.PI) / 180;
  const [ux, uy] = [Math.cos(angle), Math.sin(angle)];
  const place = (along: number, across: number): Point => [
    base[0] + ux * along * length - uy * across * width,
    base[1] + uy * along * length + ux * across * width,
  ];
  if (pointed) {
    const tip = at(place(1, 0));
    return `M${at(base)}Q${at(place(0.5, 1))} ${tip}Q${at(place(0.5, -1))} ${at(base)}Z`;
  }
  return smooth([
    place(0, 0),
    place(0.45, 0.42),
    place(0.85, 0.4),
    place(1, 0),
    place(0.85, -0.4),
    place(0.45, -0.42),
  ]);
}
