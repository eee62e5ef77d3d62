/** Pictures in a zip archive, stored or deflated, read at random places and checked by their CRC. */

import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs';
import { basename } from 'node:path';
import { crc32, inflateRawSync } from 'node:zlib';
import StreamZip from 'node-stream-zip';
import { messageOf, UserError } from '../errors.js';
import { PackedStrings, type SharedStrings, sharedFloat64, sharedInt32 } from './packed-strings.js';
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
  sizes: Float64Array;
  packedSizes: Float64Array;
  checksums: Int32Array;
  methods: Int32Array;
}

class ZipSource implements ImageSource {
  private readonly names: PackedStrings;
  private file: number | undefined;

  constructor(private readonly shared: SharedZip) {
    this.names = new PackedStrings(shared.names);
  }

  get length(): number {
    return this.names.length;
  }

  get classes(): readonly string[] {
    return this.shared.classes;
  }

  get description(): string {
    const labels = this.classes.length > 0 ? `with ${this.classes.length} classes` : 'without labels';
    return `zip archive ${basename(this.shared.path)} ${labels}`;
  }

  label(index: number): number {
    return this.shared.labels[index];
  }

  key(index: number): string {
    return this.names.at(index);
  }

  read(index: number): Uint8Array {
    const { shared } = this;
    const size = shared.sizes[index];
    const packedSize = shared.packedSizes[index];
    if (size > MAX_ENTRY || packedSize > MAX_ENTRY) throw new Error(`an entry of ${size} bytes`);
    // The local name and extra field may be longer than the directory says: guess, and read again if so.
    let bytes = this.readAt(shared.offsets[index], LOCAL_HEADER + 512 + packedSize);
    if (bytes.length < LOCAL_HEADER || bytes.readUInt32LE(0) !== 0x04034b50)
      throw new Error('broken zip entry (no local header)');
    const start = LOCAL_HEADER + bytes.readUInt16LE(26) + bytes.readUInt16LE(28);
    if (bytes.length < start + packedSize) bytes = this.readAt(shared.offsets[index], start + packedSize);
    if (bytes.length < start + packedSize) throw new Error('the zip archive ends inside the entry');
    const content = unpack(bytes.subarray(start, start + packedSize), shared.methods[index], size);
    if (content.length !== size) throw new Error(`broken zip entry (${content.length} of ${size} bytes)`);
    if ((crc32(content) | 0) !== shared.checksums[index]) throw new Error('broken zip entry (wrong CRC)');
    return content;
  }

  private readAt(offset: number, length: number): Buffer {
    this.file ??= openSync(this.shared.path, 'r');
    const bytes = Buffer.allocUnsafe(length);
    let read = 0;
    while (read < length) {
      const n = readSync(this.file, bytes, read, length - read, offset + read);
      if (n === 0) break;
      read += n;
    }
    return bytes.subarray(0, read);
  }

  share(): SharedZip {
    return this.shared;
  }

  close(): void {
    if (this.file !== undefined) closeSync(this.file);
    this.file = undefined;
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
}

/**
 * The pictures of a zip in the order of its directory. With a map only those that it names, as in the
 * original; entries that are empty, hidden, encrypted or lead out of the archive are left out.
 */
export async function openZip(path: string, options: ZipOptions = {}): Promise<ImageSource> {
  const mapped = options.map === undefined ? undefined : readMap(options.map);
  const entries = (await readDirectory(path)).filter(
    (entry) => isPicture(entry) && (mapped === undefined || mapped.has(entry.name)),
  );
  if (entries.length === 0)
    throw new UserError(
      'data',
      `no pictures found in ${path}. Expected entries ending in ${ZIP_EXTENSIONS.join(' ')}` +
        `${options.map === undefined ? '' : `, under the names that ${options.map} lists`}.`,
    );
  const names = entries.map((entry) => entry.name);
  const { labels, classes } =
    options.labels === false
      ? { labels: names.map(() => -1), classes: [] }
      : mapped
        ? mapLabels(names, mapped)
        : folderLabels(names);
  return new ZipSource({
    kind: 'zip',
    path,
    names: PackedStrings.from(names).shared,
    labels: sharedInt32(labels),
    classes,
    offsets: sharedFloat64(entries.map((entry) => entry.offset)),
    sizes: sharedFloat64(entries.map((entry) => entry.size)),
    packedSizes: sharedFloat64(entries.map((entry) => entry.compressedSize)),
    checksums: sharedInt32(entries.map((entry) => entry.crc)),
    methods: sharedInt32(entries.map((entry) => entry.method)),
  });
}

async function readDirectory(path: string): Promise<StreamZip.ZipEntry[]> {
  if (!existsSync(path)) throw new UserError('data', `the zip archive ${path} does not exist.`);
  // Names are only ever compared, never used as paths, so odd ones need not end everything.
  const zip = new StreamZip.async({ file: path, skipEntryNameValidation: true });
  try {
    return Object.values(await zip.entries());
  } catch (error) {
    throw new UserError('data', `${path} cannot be read as a zip archive (${messageOf(error)}).`, {
      cause: error,
    });
  } finally {
    await zip.close().catch(() => undefined); // nothing to close where opening failed
  }
}

function isPicture(entry: StreamZip.ZipEntry): boolean {
  const { name } = entry;
  if (entry.isDirectory || entry.encrypted || entry.size === 0 || name.startsWith('.')) return false;
  if (/(^|[\\/])\.\.([\\/]|$)/.test(name) || /^([\\/]|[a-z]:)/i.test(name)) return false;
  const lower = name.toLowerCase();
  return ZIP_EXTENSIONS.some((extension) => lower.endsWith(extension));
}

function readMap(path: string): Map<string, number> {
  if (!existsSync(path)) throw new UserError('data', `the map of the zip archive, ${path}, does not exist.`);
  const map = new Map<string, number>();
  readFileSync(path, 'utf8')
    .split('\n')
    .forEach((line, i) => {
      if (line.trim() === '') return;
      const [place, label] = line.trim().split('\t').filter(Boolean);
      const at = place.indexOf('@');
      const name = place.slice(at + 1).replace(/^\//, '');
      const number = Number(label);
      if (at < 0 || name === '' || label === undefined || !Number.isInteger(number) || number < 0)
        throw new UserError(
          'data',
          `${path} line ${i + 1}: expected 'archive.zip@path/in/zip<tab>label', received '${line.slice(0, 80)}'.`,
        );
      map.set(name, number);
    });
  return map;
}

/** Class names are the folders of the archive where each label has its own, else the numbers. */
function mapLabels(names: readonly string[], map: ReadonlyMap<string, number>) {
  const labels = names.map((name) => map.get(name) ?? -1);
  let count = 0;
  for (const label of map.values()) count = Math.max(count, label + 1);
  const classes = Array.from({ length: count }, (_, i) => String(i));
  const folderOf = (name: string) =>
    name
      .slice(0, Math.max(name.lastIndexOf('/'), 0))
      .split('/')
      .at(-1) ?? '';
  const owner = new Map<string, number>();
  const named = new Map<number, string>();
  for (let i = 0; i < names.length; i++) {
    const folder = folderOf(names[i]);
    if (folder === '' || (owner.get(folder) ?? labels[i]) !== labels[i]) return { labels, classes };
    if ((named.get(labels[i]) ?? folder) !== folder) return { labels, classes };
    owner.set(folder, labels[i]);
    named.set(labels[i], folder);
  }
  return { labels, classes: classes.map((number, i) => named.get(i) ?? number) };
}

function folderLabels(names: readonly string[]) {
  if (!names.every((name) => name.includes('/'))) return { labels: names.map(() => -1), classes: [] };
  const top = (name: string) => name.slice(0, name.indexOf('/'));
  const classes = [...new Set(names.map(top))].sort();
  const numbers = new Map(classes.map((name, number) => [name, number]));
  return { labels: names.map((name) => numbers.get(top(name)) ?? -1), classes };
}
