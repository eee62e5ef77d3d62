/** What a drawn object is made of. */

import type { Random } from './random.js';

/** The colours of one object; which colour a role has is drawn per scene, never per class. */
export type Role = 'main' | 'second' | 'third' | 'dark' | 'light';

/** One piece of an object, in object space: a square of about ±50 around the origin, y pointing down. */
export interface Part {
  /** SVG path data, filled by the even-odd rule. */
  d: string;
  role: Role;
  /** Width of a pen line; the path is then a line and not a surface. */
  line?: number;
}

/** Draws one object of a class; all variation of its parts comes from `rng`. Back to front. */
export type ObjectMaker = (rng: Random) => Part[];

export const surface = (role: Role, d: string): Part => ({ d, role });
export const line = (role: Role, width: number, d: string): Part => ({ d, role, line: width });
