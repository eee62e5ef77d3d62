/** Pictures in tar shards as WebDataset packs them: files of one sample share their name up to the first dot. */

import { basename, dirname } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { IMAGE_EXTENSIONS, isImageName } from './file-list.js';
import { GrowingNumbers, GrowingStrings } from './growing-lists.js';
import { atMostOne, classesText, folderClasses, type LabelKind, numberedClasses } from './labels.js';
import { PackedStrings, type SharedStrings } from './packed-strings.js';
import { ShardFiles, shardOf } from './shard-files.js';
import type { ImageSource } from './source.js';
import { type TarEntry, walkTar } from './tar-index.js';
import { wholeNumber } from './tsv-row.js';

/** An entry larger than this is no picture. */
const MAX_ENTRY = 2 ** 30;

export interface SharedTar {
  kind: 'tar';
  paths: readonly string[];
  /** [shards+1] pictures before each shard */
  starts: Float64Array;
  names: SharedStrings;
  /** where each picture begins in its shard */
  offsets: Float64Array;
  sizes: Uint32Array;
  labels: Int32Array;
  classes: readonly string[];
}

class TarSource implements ImageSource {
  private readonly names: PackedStrings;
  private readonly files: ShardFiles;

  constructor(private readonly shared: SharedTar) {
    this.names = new PackedStrings(shared.names);
    this.files = new ShardFiles(shared.paths);
  }

  get length(): number {
    return this.names.length;
  }

  get labelKind(): LabelKind {
    return this.classes.length > 0 ? 'single' : 'none';
  }

  get classes(): readonly string[] {
    return this.shared.classes;
  }

  get description(): string {
    const { paths } = this.shared;
    const what = paths.length === 1 ? `tar archive ${basename(paths[0])}` : `${paths.length} tar shards`;
    return `${what} ${classesText(this.classes.length)}`;
  }

  get chunks(): readonly number[] {
    const { starts, paths } = this.shared;
    return paths.map((_, i) => starts[i + 1] - starts[i]);
  }

  label(index: number): number {
    return this.shared.labels[index];
  }

  labels(index: number): readonly number[] {
    return atMostOne(this.label(index));
  }

  key(index: number): string {
    const { starts, paths } = this.shared;
    const name = this.names.at(index);
    return paths.length > 1 ? `${basename(paths[shardOf(starts, index)])}/${name}` : name;
  }

  read(index: number): Uint8Array {
    const { starts, offsets, sizes } = this.shared;
    const size = sizes[index];
    const bytes = this.files.readAt(shardOf(starts, index), offsets[index], size);
    if (bytes.length < size)
      throw new Error(`the tar archive ends inside the picture (${bytes.length} of ${size} bytes)`);
    return bytes;
  }

  share(): SharedTar {
    return this.shared;
  }

  close(): void {
    this.files.close();
  }
}

export function openSharedTar(shared: SharedTar): ImageSource {
  return new TarSource(shared);
}

export interface TarOptions {
  /** false: no labels */
  labels?: boolean;
  /** the classes of the training set, where folders are the classes */
  classes?: readonly string[];
}

/**
 * The pictures of the shards in their order. `KEY.cls` beside `KEY.jpg` is the label, a whole number. Hidden and
 * empty entries, links, and names that lead out of the archive are left out. Without any `.cls`, the top folders
 * are the classes, if there are several.
 */
export function openTar(paths: readonly string[], options: TarOptions = {}): ImageSource {
  const names = new GrowingStrings();
  const offsets = new GrowingNumbers(Float64Array);
  const sizes = new GrowingNumbers(Uint32Array);
  const labels = new GrowingNumbers(Int32Array);
  const starts = new Float64Array(new SharedArrayBuffer((paths.length + 1) * 8));
  let most = -1;
  paths.forEach((path, shard) => {
    const sample = new Sample(options.labels !== false, (picture, label) => {
      names.push(picture.name);
      offsets.push(picture.offset);
      sizes.push(picture.size);
      labels.push(label);
      most = Math.max(most, label);
    });
    try {
      walkTar(path, (entry) => sample.add(entry));
    } catch (error) {
      throw new UserError('data', `${path} cannot be read as a tar archive (${messageOf(error)}).`, {
        cause: error,
      });
    }
    sample.end();
    starts[shard + 1] = names.length;
  });
  if (names.length === 0)
    throw new UserError(
      'data',
      `no pictures found in ${paths.slice(0, 3).join(', ')}${paths.length > 3 ? ' …' : ''}. ` +
        `Expected entries ending in ${IMAGE_EXTENSIONS.join(' ')}.`,
    );
  const packed = names.finish();
  const found = labels.finish();
  return new TarSource({
    kind: 'tar',
    paths,
    starts,
    names: packed.shared,
    offsets: offsets.finish(),
    sizes: sizes.finish(),
    ...(most < 0 && options.labels !== false
      ? folderClasses(packed, { least: 2, place: paths[0], ...options })
      : { labels: found, classes: numberedClasses(most, dirname(paths[0])) }),
  });
}

interface Picture {
  name: string;
  offset: number;
  size: number;
}

/** The entries of one sample, which follow each other. */
class Sample {
  private key: string | undefined;
  private pictures: Picture[] = [];
  private label = -1;

  constructor(
    private readonly labelled: boolean,
    private readonly give: (picture: Picture, label: number) => void,
  ) {}

  add(entry: TarEntry): void {
    const name = entry.name.startsWith('./') ? entry.name.slice(2) : entry.name;
    const base = name.lastIndexOf('/') + 1;
    if (entry.size === 0 || name.startsWith('.', base) || isUnsafe(name)) return;
    const dot = name.indexOf('.', base);
    const key = dot < 0 ? name : name.slice(0, dot);
    if (key !== this.key) this.end();
    this.key = key;
    if (isImageName(name)) {
      if (entry.size <= MAX_ENTRY) this.pictures.push({ name, offset: entry.offset, size: entry.size });
    } else if (this.labelled && /\.cls$/i.test(name)) {
      const number = wholeNumber(entry.content()?.toString('latin1').trim() ?? '');
      if (number !== undefined && number < 1_000_000) this.label = number;
    }
  }

  end(): void {
    // A sample is one picture; `KEY.seg.png` and the like belong to it but are none to train on.
    const plain = this.pictures.find(({ name }) => !name.slice((this.key ?? '').length + 1).includes('.'));
    for (const picture of plain === undefined ? this.pictures : [plain]) this.give(picture, this.label);
    this.pictures = [];
    this.label = -1;
    this.key = undefined;
  }
}

function isUnsafe(name: string): boolean {
  return /(^|[\\/])\.\.([\\/]|$)/.test(name) || /^([\\/]|[a-z]:)/i.test(name);
}
