/** SLURM's way to write lists of hosts. */

import { UserError } from '../errors.js';

/**
 * The hosts of a node list, in order: `gpu[01-03,7],login` is gpu01, gpu02, gpu03, gpu7, login. Several brackets
 * in one name multiply, the last one running fastest.
 */
export function hostsOf(list: string): string[] {
  const wrong = (what: string) =>
    new UserError('environment', `the node list of SLURM cannot be read: ${what} in '${list}'.`);
  const hosts: string[] = [];
  for (const part of partsOf(list, wrong)) {
    let names = [''];
    for (const [, plain, ranges] of part.matchAll(/([^[\]]+)|\[([^[\]]*)\]/g)) {
      const ends =
        plain !== undefined ? [plain] : (ranges as string).split(',').flatMap((r) => rangeOf(r, wrong));
      names = names.flatMap((name) => ends.map((end) => name + end));
    }
    if (names[0] === '') throw wrong('an empty name');
    hosts.push(...names);
  }
  return hosts;
}

/** Cuts at the commas outside of brackets. */
function partsOf(list: string, wrong: (what: string) => Error): string[] {
  const parts = [''];
  let depth = 0;
  for (const letter of list.trim()) {
    if (letter === '[') depth++;
    if (letter === ']') depth--;
    if (depth < 0 || depth > 1) throw wrong('a stray bracket');
    if (letter === ',' && depth === 0) parts.push('');
    else parts[parts.length - 1] += letter;
  }
  if (depth !== 0) throw wrong('an open bracket');
  return parts;
}

/** `08-11` -> 08, 09, 10, 11: leading zeros stay. */
function rangeOf(range: string, wrong: (what: string) => Error): string[] {
  const found = /^(\d+)(?:-(\d+))?$/.exec(range.trim());
  if (found === null) throw wrong(`the range '${range}'`);
  const [, first, last = first] = found;
  const [from, to] = [Number(first), Number(last)];
  if (to < from || to - from > 100_000) throw wrong(`the range '${range}'`);
  return Array.from({ length: to - from + 1 }, (_, i) => String(from + i).padStart(first.length, '0'));
}
