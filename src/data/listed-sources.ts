/** Pictures as files that a list names: text and CSV lists, and the two file lists of WebVision. */

import { existsSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { UserError } from '../errors.js';
import { openSharedFiles } from './file-list.js';
import { GrowingNumbers, GrowingStrings } from './growing-lists.js';
import { ClassNumbers, classesText } from './labels.js';
import { NameNumbers } from './name-numbers.js';
import { type PackedStrings, sortByCodePoint } from './packed-strings.js';
import { readLines } from './read-lines.js';
import type { ImageSource } from './source.js';
import { wholeNumber } from './tsv-row.js';

export interface ListOptions {
  /** false: no labels, even where the list has some */
  labels?: boolean;
  /** the classes of the training set, for labels that are names */
  classes?: readonly string[];
}

/**
 * A file of paths, one a line, below the list's own folder or absolute. A label may follow: after a tab, after a
 * comma in `.csv`, or, if it is a number, after a blank. A first line of headings is left out.
 */
export function openList(path: string, options: ListOptions = {}): ImageSource {
  const isCsv = path.toLowerCase().endsWith('.csv');
  const paths = new GrowingStrings();
  const rows = new GrowingNumbers(Int32Array);
  const names = new Map<string, number>();
  readLines(path, (bytes, number) => {
    const line = bytes.toString().trim();
    if (line === '' || line.startsWith('#')) return;
    const [name, label] = isCsv ? csvFields(line) : fields(line);
    if (name === '' || (number === 1 && /^(path|file|file_?name|image|img)s?(_?path)?$/i.test(name))) return;
    paths.push(name);
    if (label === undefined || label === '') rows.push(-1);
    else {
      if (!names.has(label)) names.set(label, names.size);
      rows.push(names.get(label) ?? -1);
    }
  });
  if (paths.length === 0)
    throw new UserError('data', `${path} lists no pictures. Expected a path in each line.`);
  const packed = paths.finish();
  checkFirst(path, packed, dirname(path));
  const labels = rows.finish();
  const { classes, numbers } = numberNames([...names.keys()], path, options);
  for (let i = 0; i < labels.length; i++) labels[i] = labels[i] < 0 ? -1 : numbers[labels[i]];
  return openSharedFiles({
    kind: 'files',
    description: `list ${basename(path)} ${classesText(classes.length)}`,
    root: dirname(path),
    paths: packed.shared,
    labels,
    classes,
  });
}

/** Numbers stand for themselves; other labels are names, counted by code point. */
function numberNames(
  found: readonly string[],
  place: string,
  options: ListOptions,
): { classes: readonly string[]; numbers: number[] } {
  if (options.labels === false || found.length === 0) return { classes: [], numbers: found.map(() => -1) };
  const numbers = found.map(wholeNumber);
  if (numbers.every((number): number is number => number !== undefined)) {
    const most = numbers.reduce((a, b) => Math.max(a, b), 0);
    if (most < 1_000_000) {
      const known = options.classes ?? [];
      const classes = Array.from(
        { length: Math.max(most + 1, known.length) },
        (_, i) => known[i] ?? String(i),
      );
      return { classes, numbers };
    }
  }
  const classes = new ClassNumbers(sortByCodePoint([...found]), place, options.classes);
  return { classes: classes.names, numbers: found.map((name) => classes.of(name)) };
}

function fields(line: string): [path: string, label: string | undefined] {
  const tab = line.indexOf('\t');
  if (tab >= 0)
    return [
      line.slice(0, tab).trim(),
      line
        .slice(tab + 1)
        .split('\t')[0]
        .trim(),
    ];
  const blank = line.lastIndexOf(' ');
  const last = line.slice(blank + 1);
  return blank > 0 && wholeNumber(last) !== undefined
    ? [line.slice(0, blank).trim(), last]
    : [line, undefined];
}

/** The first two fields of a line of comma-separated values; `"` quotes, `""` in quotes is one. */
function csvFields(line: string): [path: string, label: string | undefined] {
  const found: string[] = [];
  const pattern = /(?:^|,)(?:\s*"((?:[^"]|"")*)"\s*|([^,]*))/g;
  for (const [, quoted, plain] of line.matchAll(pattern))
    found.push(quoted === undefined ? plain.trim() : quoted.replaceAll('""', '"'));
  return [found[0] ?? '', found[1]];
}

/** A list that belongs to another folder is told at once, not after an epoch of unreadable pictures. */
function checkFirst(list: string, paths: PackedStrings, root: string): void {
  const count = Math.min(paths.length, 64);
  for (let i = 0; i < count; i++) if (existsSync(placeOf(root, paths.at(i)))) return;
  throw new UserError(
    'data',
    `none of the first ${count} files that ${list} lists exist; the first is ${placeOf(root, paths.at(0))}. ` +
      `Paths are taken below ${root}, or as they are where absolute.`,
  );
}

function placeOf(root: string, path: string): string {
  return isAbsolute(path) ? path : join(root, path);
}

/** The lists of WebVision-v1, in the original's order. */
export const WEBVISION_LISTS: readonly string[] = [
  'info/train_filelist_google.txt',
  'info/train_filelist_flickr.txt',
];
const WEBVISION_CLASSES = 1000;

/** `path label` lines; labels of 1000 and above are left out, and of a file listed twice the later label counts. */
export function openWebVision(root: string, options: { labels?: boolean } = {}): ImageSource {
  const paths = new GrowingStrings();
  const labelOf = new NameNumbers();
  for (const name of WEBVISION_LISTS) {
    const list = join(root, name);
    if (!existsSync(list))
      throw new UserError(
        'data',
        `WebVision-v1 needs ${WEBVISION_LISTS.join(' and ')} in ${root}; ${name} is not there.`,
      );
    readLines(list, (bytes, number) => {
      const line = bytes.toString().trim();
      if (line === '') return;
      const [path, text = '', ...more] = line.split(/\s+/);
      const label = wholeNumber(text);
      if (label === undefined || more.length > 0)
        throw new UserError(
          'data',
          `${list} line ${number}: expected 'path label', received '${line.slice(0, 80)}'.`,
        );
      if (label >= WEBVISION_CLASSES) return;
      paths.push(path);
      labelOf.add(path, label);
    });
  }
  if (paths.length === 0)
    throw new UserError('data', `the file lists in ${join(root, 'info')} name no pictures.`);
  const packed = paths.finish();
  checkFirst(join(root, 'info'), packed, root);
  const labels = new Int32Array(new SharedArrayBuffer(packed.length * 4)).fill(-1);
  const isLabelled = options.labels !== false;
  if (isLabelled) for (let i = 0; i < labels.length; i++) labels[i] = labelOf.get(packed.bytesAt(i)) ?? -1;
  return openSharedFiles({
    kind: 'files',
    description: `WebVision-v1 ${classesText(isLabelled ? WEBVISION_CLASSES : 0)}`,
    root,
    paths: packed.shared,
    labels,
    classes: isLabelled ? webVisionClasses(root) : [],
  });
}

/** `info/synsets.txt` says what the numbers mean, where it is there. */
function webVisionClasses(root: string): string[] {
  const names: string[] = [];
  const path = join(root, 'info/synsets.txt');
  if (existsSync(path)) readLines(path, (line) => names.push(line.toString().trim().split(/\s/)[0]));
  return Array.from({ length: WEBVISION_CLASSES }, (_, i) => names[i] || String(i));
}
