/** Comma-separated values as RFC 4180 has them, written line by line and read piece by piece. */

import { closeSync, openSync, readSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';

/** One record with its line end; fields with commas, quotes or line ends are quoted. */
export function csvLine(fields: readonly (string | number)[]): string {
  return `${fields.map((field) => quoted(String(field))).join(',')}\n`;
}

function quoted(field: string): string {
  return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}

/** The records of a file; empty lines are none. */
export function* readCsv(path: string): Generator<string[], void, void> {
  const file = openSync(path, 'r');
  try {
    const decoder = new StringDecoder('utf8');
    const bytes = Buffer.alloc(1 << 20);
    const parser = new Parser();
    for (;;) {
      const count = readSync(file, bytes, 0, bytes.length, null);
      if (count === 0) break;
      yield* parser.take(decoder.write(bytes.subarray(0, count)));
    }
    yield* parser.take(decoder.end());
    yield* parser.end();
  } finally {
    closeSync(file);
  }
}

class Parser {
  private fields: string[] = [];
  private field = '';
  private inside = false;
  /** the last character was a quote inside a quoted field: its end, or the first of two */
  private pending = false;

  *take(text: string): Generator<string[]> {
    let plain = 0; // start of what goes to the field as it is
    for (let i = 0; i < text.length; i++) {
      const letter = text[i];
      if (this.inside) {
        if (this.pending) {
          this.pending = false;
          if (letter !== '"') this.inside = false;
          else {
            plain = i; // the second of two quotes stands for one
            continue;
          }
        } else {
          if (letter !== '"') continue;
          this.field += text.slice(plain, i);
          plain = i + 1;
          this.pending = true;
          continue;
        }
      }
      if (letter === '"' && this.field === '' && plain === i) {
        this.inside = true;
        plain = i + 1;
      } else if (letter === ',' || letter === '\n') {
        this.field += text.slice(plain, i);
        plain = i + 1;
        this.fields.push(letter === '\n' ? this.field.replace(/\r$/, '') : this.field);
        this.field = '';
        if (letter === '\n') yield* this.record();
      }
    }
    if (!this.pending) this.field += text.slice(plain);
  }

  *end(): Generator<string[]> {
    if (this.field !== '' || this.fields.length > 0) {
      this.fields.push(this.field);
      this.field = '';
      yield* this.record();
    }
  }

  private *record(): Generator<string[]> {
    const { fields } = this;
    this.fields = [];
    if (fields.length > 1 || fields[0] !== '') yield fields;
  }
}
