/** An embedding while it is made: rows and their names in a folder, whole up to where it was stopped. */

import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { diskError, writeFileAtomic } from '../files.js';
import { fromBuffer } from '../torch/index.js';
import type { FeatureRows } from './neighbours.js';

/** One picture that was described. */
export interface EmbeddedRow {
  /** its number in the source */
  index: number;
  name: string;
  /** -1 = no label */
  label: number;
}

const PLAN = 'plan.json';
const FEATURES = 'features.f32';
const ROWS = 'rows.jsonl';

export class EmbeddingParts {
  readonly rows: EmbeddedRow[];
  width: number;
  private readonly features: number;
  private readonly names: number;
  private isClosed = false;

  /** Opens the parts in `folder` where they are of the same subject, else begins. */
  constructor(
    readonly folder: string,
    private readonly subject: string,
  ) {
    try {
      mkdirSync(folder, { recursive: true });
    } catch (error) {
      throw diskError(folder, error);
    }
    const plan = existsSync(this.at(PLAN))
      ? (JSON.parse(readFileSync(this.at(PLAN), 'utf8')) as { subject: string; width: number })
      : { subject, width: 0 };
    if (plan.subject !== subject)
      throw new UserError(
        'usage',
        `${folder} is the beginning of another embedding (${plan.subject}; now it is ${subject}). Remove it, or choose another --output.`,
      );
    this.width = plan.width;
    this.features = openSync(this.at(FEATURES), 'a+');
    this.names = openSync(this.at(ROWS), 'a+');
    this.rows = this.wholeRows();
  }

  /** Rows whose features and names were both written; what is beyond is cut off. */
  private wholeRows(): EmbeddedRow[] {
    const stored = this.width === 0 ? 0 : Math.floor(statSync(this.at(FEATURES)).size / (4 * this.width));
    const lines = readFileSync(this.at(ROWS), 'utf8').split('\n').slice(0, -1).slice(0, stored);
    const rows = lines.map((line): EmbeddedRow => {
      const [index, name, label] = JSON.parse(line) as [number, string, number];
      return { index, name, label };
    });
    ftruncateSync(this.features, rows.length * 4 * this.width);
    ftruncateSync(this.names, Buffer.byteLength(lines.map((line) => `${line}\n`).join('')));
    return rows;
  }

  /** The first picture of the source that has not been looked at. */
  get next(): number {
    return (this.rows.at(-1)?.index ?? -1) + 1;
  }

  /** Adds rows; `features` holds `rows.length` x width numbers. */
  append(features: Float32Array, rows: readonly EmbeddedRow[]): void {
    if (rows.length === 0) return;
    try {
      if (this.width === 0) {
        this.width = features.length / rows.length;
        writeFileAtomic(this.at(PLAN), JSON.stringify({ subject: this.subject, width: this.width }));
      }
      const bytes = new Uint8Array(features.buffer, features.byteOffset, features.byteLength);
      for (let done = 0; done < bytes.length; ) done += writeSync(this.features, bytes, done);
      fsyncSync(this.features); // names follow features, on the disk too
      const lines = rows.map(({ index, name, label }) => `${JSON.stringify([index, name, label])}\n`);
      appendFileSync(this.names, lines.join(''));
    } catch (error) {
      throw diskError(this.folder, error);
    }
    this.rows.push(...rows);
  }

  /** The features, read from the disk when they are wanted. */
  get table(): FeatureRows {
    const { width } = this;
    return {
      count: this.rows.length,
      width,
      rows: (start, count) => {
        const bytes = new Uint8Array(new ArrayBuffer(count * width * 4));
        for (let done = 0; done < bytes.length; ) {
          const read = readSync(this.features, bytes, done, bytes.length - done, start * width * 4 + done);
          if (read === 0) throw new UserError('data', `${this.at(FEATURES)} ends too early; make it again.`);
          done += read;
        }
        return fromBuffer(bytes.buffer, { shape: [count, width], dtype: 'float32' });
      },
    };
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    closeSync(this.features);
    closeSync(this.names);
  }

  /** Takes the folder away once its content is in place elsewhere. */
  remove(): void {
    this.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private at(name: string): string {
    return join(this.folder, name);
  }
}
