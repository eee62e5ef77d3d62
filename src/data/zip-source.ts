/** Pictures in a zip archive, stored or deflated, read at random places and checked by their CRC. */

import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { crc32, inflateRawSync } from 'node:zlib';
import StreamZip from 'node-stream-zip';
import { messageOf, UserError } from '../errors.js';
import { GrowingNumbers, GrowingStrings } from './growing-lists.js';
import { atMostOne, classesText, folderClasses, type LabelKind } from './labels.js';
import { NameNumbers } from './name-numbers.js';
import { PackedStrings, type SharedStrings } from './packed-strings.js';
import { readLines } from './read-lines.js';
import { ShardFiles } from './shard-files.js';
import type { ImageSource } from './source.js';

/** What the original takes for a picture inside a zip. */
const ZIP_EXTENSIONS: readonly string[] = ['.jpg', '.jpeg', '.tiff', '.bmp', '.png'];

/** An entry larger than this is no picture. */
const MAX_ENTRY = 2 ** 30;
const LOCAL_HEADER = 30;
const STORED = 0;
const DEFLATED = 8;

export interface SharedZip {
  kind: 'zip';
  path: string;
  names: SharedStrings;
  labels: Int32Array;
  classes: readonly string[];
  /** where the local header of each entry begins */
  offsets: Float64Array;
  sizes: Uint32Array;
  packedSizes: Uint32Array;
  checksums: Int32Array;
  methods: Uint8Array;
}

class ZipSource implements ImageSource {
  private readonly names: PackedStrings;
  private readonly file: ShardFiles;

  constructor(private readonly shared: SharedZip) {
    this.names = new PackedStrings(shared.names);
    this.file = new ShardFiles([shared.path]);
  }

  get length(): number {
    return this.names.length;
  }

  get classes(): readonly string[] {
    return this.shared.classes;
  }

  get labelKind(): LabelKind {
    return this.classes.length > 0 ? 'single' : 'none';
  }

  get description(): string {
    return `zip archive ${basename(this.shared.path)} ${classesText(this.classes.length)}`;
  }

  get chunks(): readonly number[] {
    return [this.length];
  }

  label(index: number): number {
    return this.shared.labels[index];
  }

  labels(index: number): readonly number[] {
    return atMostOne(this.label(index));
  }

  key(index: number): string {
    return this.names.at(index);
  }

  read(index: number): Uint8Array {
    const { shared } = this;
    const size = shared.sizes[index];
    const packedSize = shared.packedSizes[index];
    if (size > MAX_ENTRY || packedSize > MAX_ENTRY)
      throw new Error(`an entry of more than ${MAX_ENTRY} bytes`);
    // The local name and extra field may be longer than the directory says: guess, and read again if so.
    let bytes = this.file.readAt(0, shared.offsets[index], LOCAL_HEADER + 512 + packedSize);
    if (bytes.length < LOCAL_HEADER || bytes.readUInt32LE(0) !== 0x04034b50)
      throw new Error('broken zip entry (no local header)');
    const start = LOCAL_HEADER + bytes.readUInt16LE(26) + bytes.readUInt16LE(28);
    if (bytes.length < start + packedSize)
      bytes = this.file.readAt(0, shared.offsets[index], start + packedSize);
    if (bytes.length < start + packedSize) throw new Error('the zip archive ends inside the entry');
    const content = unpack(bytes.subarray(start, start + packedSize), shared.methods[index], size);
    if (content.length !== size) throw new Error(`broken zip entry (${content.length} of ${size} bytes)`);
    if ((crc32(content) | 0) !== shared.checksums[index]) throw new Error('broken zip entry (wrong CRC)');
    return content;
  }

  share(): SharedZip {
    return this.shared;
  }

  close(): void {
    this.file.close();
  }
}

function unpack(packed: Buffer, method: number, size: number): Buffer {
  if (method === STORED) return packed;
  if (method !== DEFLATED) throw new Error(`zip compression method ${method} is not supported`);
  try {
    return inflateRawSync(packed, { maxOutputLength: Math.max(size, 1) });
  } catch (error) {
    throw new Error(`broken zip entry (${messageOf(error)})`);
  }
}

export function openSharedZip(shared: SharedZip): ImageSource {
  return new ZipSource(shared);
}

export interface ZipOptions {
  /** `name@path/in/zip <tab> label` lines; without it, the folders inside the zip are the classes */
  map?: string;
  /** false: no labels, even where there is a map */
  labels?: boolean;
  /** the classes of the training set, where folders are the classes */
  classes?: readonly string[];
}

/**
 * The pictures of a zip in the order of its directory. With a map only those that it names, as in the
 * original; entries that are empty, hidden, encrypted or lead out of the archive are left out.
 */
export async function openZip(path: string, options: ZipOptions = {}): Promise<ImageSource> {
  const mapped = options.map === undefined ? undefined : readMap(options.map);
  const names = new GrowingStrings();
  const labels = new GrowingNumbers(Int32Array);
  const offsets = new GrowingNumbers(Float64Array);
  const sizes = new GrowingNumbers(Uint32Array);
  const packedSizes = new GrowingNumbers(Uint32Array);
  const checksums = new GrowingNumbers(Int32Array);
  const methods = new GrowingNumbers(Uint8Array);
  await readDirectory(path, (entry) => {
    const label = mapped?.get(entry.name);
    if (!isPicture(entry) || (mapped !== undefined && label === undefined)) return;
    names.push(entry.name);
    labels.push(label ?? -1);
    offsets.push(entry.offset);
    sizes.push(Math.min(entry.size, MAX_ENTRY + 1));
    packedSizes.push(Math.min(entry.compressedSize, MAX_ENTRY + 1));
    checksums.push(entry.crc);
    methods.push(entry.method < 256 ? entry.method : 255);
  });
  if (names.length === 0)
    throw new UserError(
      'data',
      `no pictures found in ${path}. Expected entries ending in ${ZIP_EXTENSIONS.join(' ')}` +
        `${options.map === undefined ? '' : `, under the names that ${options.map} lists`}.`,
    );
  const packed = names.finish();
  const own = labels.finish();
  const labelling =
    options.labels === false
      ? { labels: own.fill(-1), classes: [] }
      : mapped === undefined
        ? folderClasses(packed, { least: 1, place: path, ...options })
        : { labels: own, classes: mapClasses(packed, own, mapped.most) };
  return new ZipSource({
    kind: 'zip',
    path,
    names: packed.shared,
    ...labelling,
    offsets: offsets.finish(),
    sizes: sizes.finish(),
    packedSizes: packedSizes.finish(),
    checksums: checksums.finish(),
    methods: methods.finish(),
  });
}

/** Gives every entry of the directory in turn; none is kept. */
async function readDirectory(path: string, visit: (entry: StreamZip.ZipEntry) => void): Promise<void> {
  if (!existsSync(path)) throw new UserError('data', `the zip archive ${path} does not exist.`);
  await new Promise<void>((resolve, reject) => {
    // Names are only ever compared, never used as paths, so odd ones need not end everything.
    const zip = new StreamZip({ file: path, skipEntryNameValidation: true, storeEntries: false });
    const end = (finish: () => void) => zip.close(() => finish());
    zip.on('entry', visit);
    zip.on('ready', () => end(resolve));
    zip.on('error', (error: unknown) =>
      end(() =>
        reject(
          new UserError('data', `${path} cannot be read as a zip archive (${messageOf(error)}).`, {
            cause: error,
          }),
        ),
      ),
    );
  });
}

function isPicture(entry: StreamZip.ZipEntry): boolean {
  const { name } = entry;
  if (entry.isDirectory || entry.encrypted || entry.size === 0 || name.startsWith('.')) return false;
  if (/(^|[\\/])\.\.([\\/]|$)/.test(name) || /^([\\/]|[a-z]:)/i.test(name)) return false;
  const lower = name.toLowerCase();
  return ZIP_EXTENSIONS.some((extension) => lower.endsWith(extension));
}

interface ZipMap {
  get(name: string): number | undefined;
  /** the largest label */
  most: number;
}

function readMap(path: string): ZipMap {
  if (!existsSync(path)) throw new UserError('data', `the map of the zip archive, ${path}, does not exist.`);
  const numbers = new NameNumbers();
  let most = -1;
  readLines(path, (bytes, line) => {
    const text = bytes.toString().trim();
    if (text === '') return;
    const [place, label = ''] = text.split('\t').filter(Boolean);
    const at = place.indexOf('@');
    const name = place.slice(at + 1).replace(/^\//, '');
    const number = Number(label.trim() === '' ? Number.NaN : label);
    if (at < 0 || name === '' || !Number.isInteger(number) || number < 0 || number >= 1e6)
      throw new UserError(
        'data',
        `${path} line ${line}: expected 'archive.zip@path/in/zip<tab>label', received '${text.slice(0, 80)}'.`,
      );
    numbers.add(name, number);
    most = Math.max(most, number);
  });
  return { get: (name) => numbers.get(name), most };
}

/** Class names are the folders of the archive where each label has its own, else the numbers. */
function mapClasses(names: PackedStrings, labels: Int32Array, most: number): string[] {
  const classes = Array.from({ length: most + 1 }, (_, i) => String(i));
  const owner = new Map<string, number>();
  const named = new Map<number, string>();
  for (let i = 0; i < names.length; i++) {
    const folder = names.at(i).split('/').at(-2) ?? '';
    const label = labels[i];
    if (folder === '' || (owner.get(folder) ?? label) !== label) return classes;
    if ((named.get(label) ?? folder) !== folder) return classes;
    owner.set(folder, label);
    named.set(label, folder);
  }
  return classes.map((number, i) => named.get(i) ?? number);
}
