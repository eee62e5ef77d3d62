/** Pictures as base64 in the rows of one or many TSV files, read at random places. */

import { basename } from 'node:path';
import { GrowingNumbers } from './growing-lists.js';
import { atMostOne, classesText, type LabelKind } from './labels.js';
import { sortByCodePoint } from './packed-strings.js';
import { ShardFiles, shardOf } from './shard-files.js';
import type { ImageSource } from './source.js';
import { classOfJson, type RowHead, rowHead, wholeNumber } from './tsv-row.js';

/** What stands in the label column. 'map': JSON whose class the map has; 'names': JSON, or the name itself. */
export type TsvLabels = 'none' | 'numbers' | 'names' | 'map' | 'multiple';

export interface SharedTsv {
  kind: 'tsv';
  /** the layout, without its classes */
  layout: string;
  paths: readonly string[];
  /** [files+1] rows before each file */
  starts: Float64Array;
  /** [n] where the row of each picture begins in its file */
  offsets: Float64Array;
  labelColumn: TsvLabels;
  hasLabelColumn: boolean;
  /** names by number; empty where they are not known without reading every row */
  classes: readonly string[];
  /** for 'map' */
  map?: ReadonlyMap<string, number>;
  /** what was found when every label was read */
  found?: { labels: Int32Array; classes: readonly string[] };
}

/** Labels of pictures that have several each. */
export interface ManyLabels {
  of(key: string): readonly number[];
}

const HEAD = 512;
const LONGEST_HEAD = 1 << 20;
const LONGEST_ROW = 1 << 30;
const NEWLINE = 10;

class TsvSource implements ImageSource {
  private readonly files: ShardFiles;
  /** bytes to ask for at once, after the rows seen so far */
  private guess = 1 << 17;

  constructor(
    private readonly shared: SharedTsv,
    private readonly many?: ManyLabels,
  ) {
    this.files = new ShardFiles(shared.paths);
  }

  get length(): number {
    return this.shared.offsets.length;
  }

  get labelKind(): LabelKind {
    const { labelColumn } = this.shared;
    return labelColumn === 'none' || labelColumn === 'multiple' ? labelColumn : 'single';
  }

  get classes(): readonly string[] {
    const { labelColumn, classes } = this.shared;
    if (classes.length > 0 || labelColumn === 'none') return classes;
    return this.readAllLabels().classes;
  }

  get description(): string {
    const { layout, classes, found } = this.shared;
    const known = found?.classes ?? classes;
    if (this.labelKind === 'none') return `${layout} ${classesText(0)}`;
    if (this.labelKind === 'multiple') return `${layout} with any of ${known.length} classes a picture`;
    return known.length > 0 ? `${layout} ${classesText(known.length)}` : `${layout} with labels`;
  }

  get chunks(): readonly number[] {
    const { starts, paths } = this.shared;
    return paths.map((_, i) => starts[i + 1] - starts[i]);
  }

  label(index: number): number {
    const { labelColumn, found } = this.shared;
    if (found !== undefined) return found.labels[index];
    if (labelColumn !== 'numbers' && labelColumn !== 'map') return -1;
    try {
      return this.labelOf(this.head(index)?.label);
    } catch {
      return -1; // the file is gone; whoever reads the picture will say so
    }
  }

  labels(index: number): readonly number[] {
    if (this.shared.labelColumn !== 'multiple') return atMostOne(this.label(index));
    const head = this.head(index);
    return head === undefined || this.many === undefined ? [] : this.many.of(head.key);
  }

  key(index: number): string {
    const shard = shardOf(this.shared.starts, index);
    const { paths } = this.shared;
    const file = basename(paths[shard]);
    let key: string | undefined;
    try {
      key = this.head(index)?.key;
    } catch {
      // the file is gone; its name and the row still say which picture it was
    }
    if (key === undefined) return `${file} row at byte ${this.shared.offsets[index]}`;
    return paths.length > 1 ? `${file}/${key}` : key;
  }

  read(index: number): Uint8Array {
    const { starts, offsets, hasLabelColumn } = this.shared;
    const shard = shardOf(starts, index);
    const row = this.row(shard, offsets[index]);
    const head = rowHead(row, hasLabelColumn);
    if (head === undefined)
      throw new Error(`expected ${hasLabelColumn ? 3 : 2} columns in the row, parted by tabs`);
    const end = row.indexOf(9, head.imageAt);
    return Buffer.from(row.toString('latin1', head.imageAt, end < 0 ? row.length : end), 'base64');
  }

  share(): SharedTsv {
    return this.shared;
  }

  close(): void {
    this.files.close();
  }

  private row(shard: number, offset: number): Buffer {
    for (let length = this.guess; ; length *= 2) {
      const bytes = this.files.readAt(shard, offset, length);
      const end = bytes.indexOf(NEWLINE);
      if (end < 0 && bytes.length === length) {
        if (length >= LONGEST_ROW) throw new Error(`a row of more than ${LONGEST_ROW} bytes`);
        continue;
      }
      const row = end < 0 ? bytes : bytes.subarray(0, end);
      this.guess = Math.min(1 << 22, Math.max(1 << 13, Math.round(0.75 * this.guess), row.length + 1024));
      return row;
    }
  }

  /** The columns before the picture; undefined where the row has none. */
  private head(index: number): RowHead | undefined {
    const { starts, offsets, hasLabelColumn } = this.shared;
    const shard = shardOf(starts, index);
    for (let length = HEAD; ; length *= 8) {
      const bytes = this.files.readAt(shard, offsets[index], length);
      const end = bytes.indexOf(NEWLINE);
      const head = rowHead(end < 0 ? bytes : bytes.subarray(0, end), hasLabelColumn);
      if (head !== undefined) return head;
      if (end >= 0 || bytes.length < length || length > LONGEST_HEAD) return undefined;
    }
  }

  private labelOf(text: string | undefined): number {
    if (text === undefined) return -1;
    const { labelColumn, map } = this.shared;
    if (labelColumn === 'numbers') return wholeNumber(text) ?? -1;
    return map?.get(classOfJson(text) ?? text) ?? -1;
  }

  /** Reads the label of every row, once. */
  private readAllLabels(): { labels: Int32Array; classes: readonly string[] } {
    const { shared } = this;
    if (shared.found !== undefined) return shared.found;
    const labels = new GrowingNumbers(Int32Array);
    const names = new Map<string, number>();
    let most = -1;
    for (let i = 0; i < this.length; i++) {
      let text: string | undefined;
      try {
        text = this.head(i)?.label;
      } catch {
        // whoever reads the picture will say so
      }
      let label = -1;
      if (shared.labelColumn === 'names') {
        const name = text === undefined ? undefined : (classOfJson(text) ?? text);
        if (name !== undefined && name !== '') {
          label = names.get(name) ?? names.size;
          names.set(name, label);
        }
      } else label = this.labelOf(text);
      most = Math.max(most, label);
      labels.push(label);
    }
    const shareable = labels.finish();
    let classes: string[];
    if (shared.labelColumn === 'names') {
      classes = sortByCodePoint([...names.keys()]);
      const sorted = new Map(classes.map((name, number) => [name, number]));
      const numbers = Int32Array.from([...names.keys()], (name) => sorted.get(name) ?? -1);
      for (let i = 0; i < shareable.length; i++) if (shareable[i] >= 0) shareable[i] = numbers[shareable[i]];
    } else classes = Array.from({ length: most + 1 }, (_, i) => String(i));
    shared.found = { labels: shareable, classes };
    return shared.found;
  }
}

export function openSharedTsv(shared: SharedTsv): ImageSource {
  return new TsvSource(shared);
}

/** `many`: where pictures have several labels each. */
export function tsvSource(shared: SharedTsv, many?: ManyLabels): ImageSource {
  return new TsvSource(shared, many);
}
