/** Opens the TSV layouts: one file, many, ImageNet-22K with its label map, and OpenImages with several labels each. */

import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UserError } from '../errors.js';
import { GrowingNumbers } from './growing-lists.js';
import { readClasses } from './labels.js';
import { NameNumbers } from './name-numbers.js';
import { readLines } from './read-lines.js';
import { ShardFiles } from './shard-files.js';
import type { ImageSource } from './source.js';
import { addRows, type TsvIndexOptions } from './tsv-index.js';
import { classOfJson, rowHead, wholeNumber } from './tsv-row.js';
import { type ManyLabels, type SharedTsv, type TsvLabels, tsvSource } from './tsv-source.js';

export interface TsvOptions {
  /** file of `class <tab> number` lines; labels are then JSON, as in ImageNet-22K */
  map?: string;
  /** false: no labels, whatever stands there */
  labels?: boolean;
  /** the classes of another split, for labels that are names */
  classes?: readonly string[];
  note?: (line: string) => void;
}

/** Opens `paths` as one list, file after file. */
export function openTsv(paths: readonly string[], options: TsvOptions = {}): ImageSource {
  const map = options.map === undefined ? undefined : readLabelMap(options.map);
  const { offsets, starts } = index(paths, {
    ...(map !== undefined && { knownClasses: map }),
    ...(options.note !== undefined && { note: options.note }),
  });
  const layout = paths.length === 1 ? `TSV ${basename(paths[0])}` : `${paths.length} TSV files`;
  const { labelColumn, hasLabelColumn } = columns(paths, starts, offsets, map !== undefined);
  const shared: SharedTsv = {
    kind: 'tsv',
    layout,
    paths,
    starts,
    offsets,
    labelColumn: options.labels === false ? 'none' : labelColumn,
    hasLabelColumn,
    classes: [],
  };
  if (shared.labelColumn === 'map' && map !== undefined)
    return tsvSource({ ...shared, map, classes: namesByNumber(map) });
  if (shared.labelColumn === 'numbers')
    return tsvSource({ ...shared, classes: readClasses(dirname(paths[0])) });
  const source = tsvSource(shared);
  if (shared.labelColumn !== 'names' || options.classes === undefined) return source;
  const numbers = new Map(options.classes.map((name, number) => [name, number]));
  return tsvSource({ ...shared, labelColumn: 'map', map: numbers, classes: options.classes });
}

/** The four files of OpenImages-v4, by their names in the original. */
export const OPEN_IMAGES = {
  pictures: 'train.tsv',
  lineidx: 'train.balance_min1000.lineidx',
  labels: 'train.label.verify_20191102.tsv',
  labelmap: 'train.label.verify_20191102.6962.tag.labelmap',
} as const;

/** Rows are those of the balanced index, which names a picture of rare classes several times. */
export function openOpenImages(folder: string, options: TsvOptions = {}): ImageSource {
  const at = (name: keyof typeof OPEN_IMAGES) => join(folder, OPEN_IMAGES[name]);
  for (const name of Object.keys(OPEN_IMAGES) as (keyof typeof OPEN_IMAGES)[])
    if (!existsSync(at(name)))
      throw new UserError(
        'data',
        `OpenImages-v4 needs ${Object.values(OPEN_IMAGES).join(', ')} in ${folder}; ${OPEN_IMAGES[name]} is not there.`,
      );
  const { offsets, starts } = index([at('pictures')], {
    lineidx: at('lineidx'),
    ...(options.note !== undefined && { note: options.note }),
  });
  const classes: string[] = [];
  readLines(at('labelmap'), (line) => classes.push(line.toString().trim()));
  return tsvSource(
    {
      kind: 'tsv',
      layout: 'OpenImages-v4',
      paths: [at('pictures')],
      starts,
      offsets,
      labelColumn: options.labels === false ? 'none' : 'multiple',
      hasLabelColumn: true,
      classes,
    },
    new OpenImagesLabels(at('labels'), classes),
  );
}

function index(paths: readonly string[], options: TsvIndexOptions) {
  const offsets = new GrowingNumbers(Float64Array);
  const starts = new Float64Array(new SharedArrayBuffer((paths.length + 1) * 8));
  paths.forEach((path, i) => {
    starts[i + 1] = starts[i] + addRows(path, offsets, options);
  });
  if (offsets.length === 0)
    throw new UserError(
      'data',
      `no rows found in ${paths.slice(0, 3).join(', ')}${paths.length > 3 ? ' …' : ''}.`,
    );
  return { offsets: offsets.finish(), starts };
}

/** What the columns are, by the first row. */
function columns(
  paths: readonly string[],
  starts: Float64Array,
  offsets: Float64Array,
  hasMap: boolean,
): { labelColumn: TsvLabels; hasLabelColumn: boolean } {
  const files = new ShardFiles(paths);
  try {
    const shard = starts.findIndex((_, i) => starts[i + 1] > starts[i]);
    for (let length = 1 << 12; ; length *= 8) {
      const bytes = files.readAt(shard, offsets[0], length);
      const end = bytes.indexOf(10);
      const row = end < 0 ? bytes : bytes.subarray(0, end);
      const head = rowHead(row, true);
      if (head === undefined && end < 0 && bytes.length === length) continue;
      if (head?.label === undefined) {
        if (rowHead(row, false) === undefined)
          throw new UserError(
            'data',
            `${paths[shard]}: expected rows of key, label and base64 picture (or key and picture), parted by tabs; ` +
              `the row at byte ${offsets[0]} has no tab.`,
          );
        return { labelColumn: 'none', hasLabelColumn: false };
      }
      if (hasMap) return { labelColumn: 'map', hasLabelColumn: true };
      if (head.label === '') return { labelColumn: 'none', hasLabelColumn: true };
      if (wholeNumber(head.label) !== undefined) return { labelColumn: 'numbers', hasLabelColumn: true };
      const isNamed = !head.label.startsWith('[') || classOfJson(head.label) !== undefined;
      return { labelColumn: isNamed ? 'names' : 'none', hasLabelColumn: true };
    }
  } finally {
    files.close();
  }
}

function readLabelMap(path: string): Map<string, number> {
  const map = new Map<string, number>();
  readLines(path, (bytes, line) => {
    const text = bytes.toString().trim();
    if (text === '') return;
    const [name, label = ''] = text.split('\t');
    const number = wholeNumber(label.trim());
    if (number === undefined)
      throw new UserError(
        'data',
        `${path} line ${line}: expected 'class<tab>number', received '${text.slice(0, 80)}'.`,
      );
    map.set(name, number);
  });
  return map;
}

function namesByNumber(map: ReadonlyMap<string, number>): string[] {
  let most = -1;
  for (const number of map.values()) most = Math.max(most, number);
  // Numbers far above the number of names would cost memory without end.
  if (most > 100 * map.size + 1000)
    throw new UserError('data', `the label map has ${map.size} classes, but the number ${most} among them.`);
  const names = Array.from({ length: most + 1 }, (_, i) => String(i));
  for (const [name, number] of map) names[number] = name;
  return names;
}

/** The label file of OpenImages: `key <tab> JSON list of classes`, or names parted by `;`; `-name` says what is not there. */
class OpenImagesLabels implements ManyLabels {
  private lines: { of: NameNumbers; begins: Float64Array } | undefined;
  private readonly file: ShardFiles;
  private readonly numbers: ReadonlyMap<string, number>;

  constructor(
    private readonly path: string,
    classes: readonly string[],
  ) {
    this.file = new ShardFiles([path]);
    this.numbers = new Map(classes.map((name, number) => [name, number]));
  }

  of(key: string): readonly number[] {
    const { of, begins } = this.index();
    const line = of.get(key);
    if (line === undefined) return [];
    const bytes = this.file.readAt(0, begins[line], begins[line + 1] - begins[line]);
    const [, text = ''] = bytes.toString().trim().split('\t');
    const numbers = this.names(text)
      .filter((name) => !name.startsWith('-'))
      .flatMap((name) => this.numbers.get(name) ?? []);
    return [...new Set(numbers)].sort((a, b) => a - b);
  }

  private names(text: string): string[] {
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch {
      return text.split(';');
    }
    if (!Array.isArray(parsed)) return [];
    return parsed.flatMap((one: unknown) => {
      const name = (one as { class?: unknown } | null)?.class;
      return typeof name === 'string' ? [name] : [];
    });
  }

  private index() {
    if (this.lines !== undefined) return this.lines;
    const of = new NameNumbers();
    const begins = new GrowingNumbers(Float64Array);
    let offset = 0;
    readLines(this.path, (line, number, bytes) => {
      const tab = line.indexOf(9);
      of.add(line.toString('utf8', 0, tab < 0 ? line.length : tab).trim(), number - 1);
      begins.push(offset);
      offset += bytes;
    });
    begins.push(offset);
    this.lines = { of, begins: begins.finish() };
    return this.lines;
  }
}
