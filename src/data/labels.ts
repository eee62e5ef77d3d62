/** How the pictures of a set may be labelled, and how that is said. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { type PackedStrings, sortByCodePoint } from './packed-strings.js';
import { readLines } from './read-lines.js';

/** 'single': at most one label a picture; 'multiple': any number. */
export type LabelKind = 'none' | 'single' | 'multiple';

/** All labels of a picture that has at most one. */
export function atMostOne(label: number): readonly number[] {
  return label < 0 ? [] : [label];
}

/** "with 10 classes" or "without labels" */
export function classesText(count: number): string {
  return count > 0 ? `with ${count} class${count === 1 ? '' : 'es'}` : 'without labels';
}

/** The numbers of class names: those of another split if given, else by code point. */
export class ClassNumbers {
  readonly names: readonly string[];
  private readonly numbers: ReadonlyMap<string, number>;

  constructor(
    found: readonly string[],
    private readonly place: string,
    private readonly given?: readonly string[],
  ) {
    this.names = given ?? found;
    this.numbers = new Map(this.names.map((name, number) => [name, number]));
  }

  of(name: string): number {
    const number = this.numbers.get(name);
    if (number === undefined)
      throw new UserError(
        'data',
        `the class '${name}' in ${this.place} is not among the ${(this.given ?? this.names).length} classes of the training set.`,
      );
    return number;
  }
}

/** Names of classes that are written as numbers, one a line; `esvit data pack` writes it. */
export const CLASSES_FILE = 'classes.txt';

/** The class names beside a data set whose labels are numbers; empty if there are none. */
export function readClasses(folder: string): string[] {
  const path = join(folder, CLASSES_FILE);
  const names: string[] = [];
  if (existsSync(path)) readLines(path, (line) => names.push(line.toString()));
  return names;
}

/** Classes 0..`most` under the names that `folder` knows, else under their numbers. */
export function numberedClasses(most: number, folder: string): string[] {
  if (most < 0) return [];
  const names = readClasses(folder);
  return Array.from({ length: Math.max(most + 1, names.length) }, (_, i) => names[i] ?? String(i));
}

/**
 * The top folders of an archive's entries as their classes, by code point. None where an entry lies in no folder,
 * or all of them in the same one.
 */
export function folderClasses(
  names: PackedStrings,
  options: { least: number; place: string; classes?: readonly string[] },
): { labels: Int32Array; classes: readonly string[] } {
  const labels = new Int32Array(new SharedArrayBuffer(names.length * 4)).fill(-1);
  const found = new Map<string, number>();
  for (let i = 0; i < names.length; i++) {
    const name = names.at(i);
    const slash = name.indexOf('/');
    if (slash < 0) return { labels: labels.fill(-1), classes: [] };
    const top = name.slice(0, slash);
    const number = found.get(top) ?? found.size;
    found.set(top, number);
    labels[i] = number;
  }
  if (found.size < options.least) return { labels: labels.fill(-1), classes: [] };
  const classes = new ClassNumbers(sortByCodePoint([...found.keys()]), options.place, options.classes);
  const numbers = Int32Array.from([...found.keys()], (name) => classes.of(name));
  for (let i = 0; i < labels.length; i++) labels[i] = numbers[labels[i]];
  return { labels, classes: classes.names };
}
