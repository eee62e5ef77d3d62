/** The lines of a text file of any size, one at a time, without holding the file. */

import { closeSync, openSync, readSync } from 'node:fs';
import { messageOf, UserError } from '../errors.js';

const BLOCK = 1 << 20;
const NEWLINE = 10;
const RETURN = 13;

/** A line longer than this is no line of a text file. */
const LONGEST = 1 << 28;

/** Calls `work` with a reader of the file; failures to open and read it are the person's. */
export function withFile<T>(path: string, work: (file: number) => T): T {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    throw new UserError('data', `cannot read ${path} (${messageOf(error)}).`, { cause: error });
  }
  try {
    return work(file);
  } finally {
    closeSync(file);
  }
}

/**
 * Every line without its end (`\n` or `\r\n`), valid until `visit` returns; `number` counts from 1, `bytes`
 * are those of the line with its end. The part after the last line end is a line if it is not empty.
 */
export function readLines(path: string, visit: (line: Buffer, number: number, bytes: number) => void): void {
  withFile(path, (file) => {
    const block = Buffer.allocUnsafe(BLOCK);
    let rest: Buffer[] = [];
    let restSize = 0;
    let number = 0;
    const give = (line: Buffer, newline: number) => {
      const end = line.length > 0 && line[line.length - 1] === RETURN ? line.length - 1 : line.length;
      visit(line.subarray(0, end), ++number, line.length + newline);
    };
    for (;;) {
      const bytes = read(path, file, block);
      if (bytes === 0) break;
      let start = 0;
      for (;;) {
        const end = block.subarray(0, bytes).indexOf(NEWLINE, start);
        if (end < 0) break;
        const part = block.subarray(start, end);
        give(restSize > 0 ? Buffer.concat([...rest, part]) : part, 1);
        rest = [];
        restSize = 0;
        start = end + 1;
      }
      if (start < bytes) {
        rest.push(Buffer.from(block.subarray(start, bytes)));
        restSize += bytes - start;
        if (restSize > LONGEST)
          throw new UserError('data', `${path} line ${number + 1} is longer than ${LONGEST} bytes.`);
      }
    }
    if (restSize > 0) give(Buffer.concat(rest), 0);
  });
}

/** Where each line of a file begins, in bytes; blank lines at the end are none. */
export function lineStarts(
  path: string,
  found: (offset: number) => void,
  progress?: (bytes: number) => void,
): void {
  withFile(path, (file) => {
    const block = Buffer.allocUnsafe(BLOCK * 4);
    let offset = 0;
    let isStart = true;
    for (;;) {
      const bytes = read(path, file, block);
      if (bytes === 0) return;
      const view = block.subarray(0, bytes);
      for (let at = 0; at < bytes; ) {
        const end = view.indexOf(NEWLINE, at);
        if (isStart && view[at] !== NEWLINE && view[at] !== RETURN) found(offset + at);
        isStart = end >= 0;
        at = end < 0 ? bytes : end + 1;
      }
      offset += bytes;
      progress?.(offset);
    }
  });
}

function read(path: string, file: number, block: Buffer): number {
  try {
    return readSync(file, block, 0, block.length, null);
  } catch (error) {
    throw new UserError('data', `cannot read ${path} (${messageOf(error)}).`, { cause: error });
  }
}
