/** The colours of a scene, drawn without regard to the class of its object. */

import type { Role } from './part.js';
import type { Random } from './random.js';

/** `#rrggbb` */
export type Colour = string;

/** A background shade, marks that stand out a little from it, and an object that stands out clearly. */
export interface Palette {
  ground: readonly [Colour, Colour, Colour];
  /** Lightness of the ground, 0..1. */
  lightness: number;
  object: Readonly<Record<Role, Colour>>;
  outline: Colour;
}

/** OKLCH (lightness 0..1, chroma 0..0.3, hue in degrees) as sRGB; what lies outside the gamut is cut. */
export function oklch(lightness: number, chroma: number, hue: number): Colour {
  const angle = (hue * Math.PI) / 180;
  const a = chroma * Math.cos(angle);
  const b = chroma * Math.sin(angle);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  const digits = linear.map((value) => {
    const v = Math.min(1, Math.max(0, value));
    const encoded = v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055;
    return Math.round(encoded * 255)
      .toString(16)
      .padStart(2, '0');
  });
  return `#${digits.join('')}`;
}

/** A lightness in [low, high] that keeps each given distance from each given lightness; the farthest try where none does. */
function apart(
  rng: Random,
  low: number,
  high: number,
  from: readonly [lightness: number, gap: number][],
): number {
  let best = (low + high) / 2;
  let bestSlack = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < 24; i++) {
    const tried = rng.between(low, high);
    const slack = Math.min(...from.map(([lightness, gap]) => Math.abs(tried - lightness) - gap));
    if (slack >= 0) return tried;
    if (slack > bestSlack) [best, bestSlack] = [tried, slack];
  }
  return best;
}

export function drawPalette(rng: Random): Palette {
  const any = (lightness: number, most = 0.16) => oklch(lightness, rng.between(0, most), rng.between(0, 360));
  const ground = rng.between(0.2, 0.95);
  const hue = rng.between(0, 360);
  const drift = rng.between(0, 60);
  const near = () =>
    oklch(ground + rng.between(-0.09, 0.09), rng.between(0, 0.12), hue + rng.between(-drift, drift));
  const main = apart(rng, 0.22, 0.95, [[ground, 0.24]]);
  const second = apart(rng, 0.2, 0.95, [
    [ground, 0.18],
    [main, 0.14],
  ]);
  const third = apart(rng, 0.2, 0.95, [
    [main, 0.2],
    [second, 0.06],
  ]);
  const dark = main < 0.45 ? main - 0.2 : rng.between(0.12, Math.min(0.32, main - 0.2));
  const light = main > 0.75 ? main + 0.16 : rng.between(Math.max(0.82, main + 0.2), 0.99);
  return {
    ground: [near(), near(), near()],
    lightness: ground,
    object: {
      main: any(main),
      second: any(second),
      third: any(third, 0.2),
      dark: any(Math.max(0.05, dark), 0.05),
      light: any(Math.min(1, light), 0.05),
    },
    outline: any(ground > 0.55 ? rng.between(0.1, 0.25) : rng.between(0.85, 0.98), 0.06),
  };
}
