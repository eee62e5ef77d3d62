/** Perceptually even colour maps that stay apart for colour-blind readers, and colours for series. */

import type { Rgb } from './picture.js';

/** `viridis`: dark blue to yellow. `cividis`: the same for red-green blindness. `grey`: for print. */
export type ColourMapName = 'viridis' | 'cividis' | 'grey';

/** Evenly spaced control points of the published maps. */
const CONTROL: Record<ColourMapName, readonly string[]> = {
  viridis: [
    '440154',
    '48186a',
    '472d7b',
    '424086',
    '3b528b',
    '33638d',
    '2c728e',
    '26828e',
    '21918c',
    '1fa088',
    '28ae80',
    '3fbc73',
    '5ec962',
    '84d44b',
    'addc30',
    'd8e219',
    'fde725',
  ],
  cividis: [
    '00224e',
    '123570',
    '3b496c',
    '575d6d',
    '707173',
    '8a8678',
    'a59c74',
    'c3b369',
    'e1cc55',
    'fee838',
  ],
  grey: ['111111', 'f4f4f4'],
};

const TABLES = Object.fromEntries(
  Object.entries(CONTROL).map(([name, points]) => [name, points.map(parseHex)]),
) as unknown as Record<ColourMapName, readonly Rgb[]>;

function parseHex(hex: string): Rgb {
  return [0, 2, 4].map((i) => Number.parseInt(hex.slice(i, i + 2), 16)) as unknown as Rgb;
}

/** The colour at `t`, cut to 0..1; a value that is not a number is mid grey. */
export function mapColour(t: number, name: ColourMapName = 'viridis'): Rgb {
  if (Number.isNaN(t)) return [128, 128, 128];
  const table = TABLES[name];
  const position = Math.max(0, Math.min(1, t)) * (table.length - 1);
  const index = Math.min(table.length - 2, Math.floor(position));
  const part = position - index;
  const [from, to] = [table[index], table[index + 1]];
  return [0, 1, 2].map((i) => Math.round(from[i] + (to[i] - from[i]) * part)) as unknown as Rgb;
}

export function cssColour([red, green, blue]: Rgb): string {
  return `#${[red, green, blue].map((v) => v.toString(16).padStart(2, '0')).join('')}`;
}

/** Series colours: apart for colour-blind readers, and of at least 3:1 contrast on white and on near black. */
export const SERIES_COLOURS = ['#2f7fd0', '#d1680c', '#1d9a74', '#b2559f', '#8a7a1f', '#6f7d8c'] as const;

/** Dashes go with the colours, so that series can be told apart without any. */
export const SERIES_DASHES = ['', '6 3', '2 2.5', '9 3 2 3', '1 3', '12 4'] as const;
