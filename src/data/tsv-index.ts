/** Which rows of a TSV file are wanted and where they begin: `.lineidx`, `.linelist` and `.chunks` beside it. */

import { existsSync, readFileSync, readSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { writeAtomic } from '../files.js';
import { GrowingNumbers } from './growing-lists.js';
import { lineStarts, readLines, withFile } from './read-lines.js';

export interface TsvIndexOptions {
  /** default: the file's name with `.lineidx` in place of `.tsv` */
  lineidx?: string;
  /** the classes that a label map knows; ranges of others in `.chunks` are left out */
  knownClasses?: { has(name: string): boolean };
  /** told what takes long, and what could not be kept */
  note?: (line: string) => void;
}

/** A file above this takes a while to go through. */
const LARGE = 2 ** 30;

/** Appends where each wanted row of `path` begins, in the original's order. The result is how many they are. */
export function addRows(
  path: string,
  into: GrowingNumbers<Float64Array>,
  options: TsvIndexOptions = {},
): number {
  const beside = (ending: string) => path.replace(/\.[^./]*$/, '') + ending;
  const lineidx = options.lineidx ?? beside('.lineidx');
  const rows = existsSync(lineidx) ? readLineidx(path, lineidx) : makeLineidx(path, lineidx, options.note);
  const listed = existsSync(beside('.linelist')) ? readLinelist(beside('.linelist'), rows.length) : undefined;
  const before = into.length;
  if (existsSync(beside('.chunks'))) {
    const allowed = listed && new Set(listed);
    for (const [name, [first, last]] of readChunks(beside('.chunks'))) {
      if (options.knownClasses !== undefined && !options.knownClasses.has(name)) continue;
      if (last >= rows.length)
        throw new UserError(
          'data',
          `${beside('.chunks')}: the rows of '${name}' end at ${last}, but ${basename(path)} has ${rows.length}, counted from 0.`,
        );
      for (let row = first; row <= last; row++)
        if (allowed === undefined || allowed.has(row)) into.push(rows.at(row));
    }
  } else if (listed !== undefined) for (const row of listed) into.push(rows.at(row));
  else for (let row = 0; row < rows.length; row++) into.push(rows.at(row));
  return into.length - before;
}

/** Byte offsets as decimal numbers, one a line. */
function readLineidx(path: string, lineidx: string): GrowingNumbers<Float64Array> {
  const rows = new GrowingNumbers(Float64Array);
  const size = sizeOf(path);
  readLines(lineidx, (line, number) => {
    if (line.length === 0) return;
    const offset = decimal(line);
    if (offset === undefined || offset >= size)
      throw new UserError(
        'data',
        `${lineidx} line ${number}: expected the place of a row in ${basename(path)}, which has ${size} bytes, ` +
          `but received '${line.toString('latin1', 0, 40)}'. Delete it, and it is made anew.`,
      );
    rows.push(offset);
  });
  checkPlaces(path, lineidx, rows);
  return rows;
}

/** A row begins at the start or after a line end: some are looked at, since a TSV may have been written anew. */
function checkPlaces(path: string, lineidx: string, rows: GrowingNumbers<Float64Array>): void {
  const probes = Math.min(16, rows.length);
  withFile(path, (file) => {
    const byte = Buffer.alloc(1);
    for (let probe = 0; probe < probes; probe++) {
      const offset = rows.at(Math.floor((probe * (rows.length - 1)) / Math.max(1, probes - 1)));
      if (offset === 0) continue;
      readSync(file, byte, 0, 1, offset - 1);
      if (byte[0] !== 10)
        throw new UserError(
          'data',
          `${lineidx} does not fit ${basename(path)}: no row begins at byte ${offset}. Delete it, and it is made anew.`,
        );
    }
  });
}

function makeLineidx(
  path: string,
  lineidx: string,
  note: (line: string) => void = () => undefined,
): GrowingNumbers<Float64Array> {
  const size = sizeOf(path);
  if (size > LARGE)
    note(
      `${basename(lineidx)} is missing; going through ${basename(path)} (${(size / 2 ** 30).toFixed(1)} GiB) once to make it.`,
    );
  const rows = new GrowingNumbers(Float64Array);
  lineStarts(path, (offset) => rows.push(offset));
  try {
    writeAtomic(lineidx, (append) => {
      let lines = '';
      for (let row = 0; row < rows.length; row++) {
        lines += `${rows.at(row)}\n`;
        if (lines.length > 1 << 16) {
          append(Buffer.from(lines));
          lines = '';
        }
      }
      append(Buffer.from(lines));
    });
  } catch (error) {
    note(`${lineidx} cannot be kept (${messageOf(error)}), so it is made each time.`);
  }
  return rows;
}

function readLinelist(path: string, rows: number): number[] | undefined {
  const list: number[] = [];
  readLines(path, (line, number) => {
    if (line.length === 0) return;
    const row = decimal(line);
    if (row === undefined || row >= rows)
      throw new UserError(
        'data',
        `${path} line ${number}: expected the number of a row, 0..${rows - 1}, but received '${line.toString('latin1', 0, 40)}'.`,
      );
    list.push(row);
  });
  // An empty list picks nothing there and is taken as no list, as in the original.
  return list.length === 0 ? undefined : list.sort((a, b) => a - b);
}

/** `{"class": [first, last], …}` in the order of the file, which JSON.parse does not keep for names like "7". */
function readChunks(path: string): Map<string, [first: number, last: number]> {
  const fail = (what: string): never => {
    throw new UserError(
      'data',
      `${path}: expected a JSON object of "class": [first row, last row], ${what}.`,
    );
  };
  let text: string;
  let parsed: unknown;
  try {
    text = readFileSync(path, 'utf8');
    parsed = JSON.parse(text);
  } catch (error) {
    return fail(`but ${messageOf(error)}`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    return fail('not another value');
  const chunks = new Map<string, [number, number]>();
  for (const [, quoted] of text.matchAll(/("(?:[^"\\]|\\.)*")\s*:/g)) {
    const name = JSON.parse(quoted) as string;
    const range: unknown = (parsed as Record<string, unknown>)[name];
    const [first, last] = Array.isArray(range) ? (range as unknown[]) : [];
    const isRow = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;
    if (!isRow(first) || !isRow(last)) return fail(`but "${name}" has ${JSON.stringify(range)}`);
    chunks.set(name, [first, last]);
  }
  return chunks;
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    throw new UserError('data', `cannot read ${path} (${messageOf(error)}).`, { cause: error });
  }
}

/** A non-negative decimal number with nothing but blanks around it. */
function decimal(line: Buffer): number | undefined {
  let value = 0;
  let digits = 0;
  let isOver = false;
  for (const byte of line) {
    if (byte >= 48 && byte <= 57 && !isOver) {
      value = value * 10 + byte - 48;
      digits++;
    } else if (byte === 32 || byte === 9) isOver = digits > 0;
    else return undefined;
  }
  return digits > 0 && digits < 16 ? value : undefined;
}
