/** What the pickle machine handles beside values: names, calls of names, and objects that live while a file is read. */

import type { PyValue } from './values.js';

/** What an allow-listed callable makes of its arguments. */
export type Constructor = (args: readonly PickleItem[]) => PickleItem;

/** A name that may stand in a pickle: something that is called, or a plain marker such as a storage type. */
export class Global {
  constructor(
    readonly name: string,
    readonly construct?: Constructor,
  ) {}
}

/** What an allow-listed callable throws for arguments that it cannot use; the message says what the file "has". */
export class Malformed extends Error {}

export function malformed(what: string): Error {
  return new Malformed(what);
}

/** An object that only lives while a file is read: a storage, a numpy dtype. */
export abstract class Intermediate {}

export type PickleItem = PyValue | Global | Intermediate;

/** An intermediate object that accepts a state. */
export abstract class BuildTarget extends Intermediate {
  /** What is wrong with the state, if anything. */
  abstract build(state: PickleItem): string | undefined;
}
