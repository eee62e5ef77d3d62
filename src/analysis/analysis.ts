/** What every analysis gives: pictures with captions, numbers for machines, and the result in a sentence. */

import type { Figure } from '../draw/index.js';

export interface Drawing {
  /** name of its files, without ending */
  name: string;
  caption: string;
  figure: Figure;
}

export interface Analysis {
  title: string;
  /** the result in a sentence or two */
  summary: string;
  drawings: Drawing[];
  tables?: { head: string[]; rows: string[][] }[];
  numbers: Record<string, unknown>;
}

/** 0.5,0.25 as part of a file name */
export const placeName = ([x, y]: readonly [number, number]): string => `${x.toFixed(2)}-${y.toFixed(2)}`;

export const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;
