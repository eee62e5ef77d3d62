/**
 * The zip container of `.pth` files: stored entries, zip64, CRC of everything that is read. Our own, because
 * it is read and written synchronously and in place: a storage goes from the disk into its tensor's memory.
 */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { crc32, inflateRawSync } from 'node:zlib';
import { UserError } from '../errors.js';

interface Entry {
  method: number;
  crc: number;
  compressed: number;
  size: number;
  header: number;
}

const END = 0x06054b50;
const END64_LOCATOR = 0x07064b50;
const END64 = 0x06064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const FULL32 = 0xffffffff;

/** Reads at most 1 GiB at a time: what one read call takes. */
const CHUNK = 1 << 30;

/** A file opened for reading, with its size. */
export class RandomFile {
  private readonly descriptor: number;
  readonly size: number;

  constructor(readonly path: string) {
    try {
      this.descriptor = openSync(path, 'r');
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      throw new UserError(
        'checkpoint',
        code === 'ENOENT'
          ? `There is no file ${path}; check the path.`
          : `${path} cannot be opened (${code}).`,
      );
    }
    const status = fstatSync(this.descriptor);
    if (status.isDirectory()) {
      this.close();
      throw new UserError('checkpoint', `${path} is a folder; give the file itself.`);
    }
    this.size = status.size;
  }

  /** Fills `target` from `offset` on. */
  readInto(target: Uint8Array, offset: number): void {
    for (let done = 0; done < target.byteLength; ) {
      const count = readSync(
        this.descriptor,
        target,
        done,
        Math.min(CHUNK, target.byteLength - done),
        offset + done,
      );
      if (count === 0) throw this.broken('it ends too early');
      done += count;
    }
  }

  read(offset: number, count: number): Uint8Array {
    return new Uint8Array(this.readBuffer(offset, count));
  }

  /** As `read`, of any length: an array sees at most 4 GiB in some versions of Node. */
  readBuffer(offset: number, count: number): ArrayBuffer {
    if (offset < 0 || count < 0 || offset + count > this.size) throw this.broken('it ends too early');
    const memory = allocateMemory(this.path, count);
    let at = offset;
    for (const piece of pieces(memory)) {
      this.readInto(piece, at);
      at += piece.byteLength;
    }
    return memory;
  }

  broken(detail: string): UserError {
    return new UserError('checkpoint', `${this.path} is damaged: ${detail}. Fetch or save it again.`);
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

/** Memory of `bytes` bytes for a part of `path`. */
export function allocateMemory(path: string, bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch {
    throw new UserError(
      'environment',
      `${path} needs ${(bytes / 2 ** 30).toFixed(1)} GiB of memory at once, more than there is; use a machine with more.`,
    );
  }
}

/** The whole of `memory`, at most 1 GiB at a time. */
export function* pieces(memory: ArrayBuffer): Generator<Uint8Array<ArrayBuffer>> {
  for (let at = 0; at < memory.byteLength; at += CHUNK)
    yield new Uint8Array(memory, at, Math.min(CHUNK, memory.byteLength - at));
}

/** CRC-32 of any length. */
export function checksum(bytes: Uint8Array, start = 0): number {
  let value = start;
  for (let at = 0; at < bytes.byteLength; at += CHUNK)
    value = crc32(bytes.subarray(at, Math.min(at + CHUNK, bytes.byteLength)), value);
  return value >>> 0;
}

/** Entries of a zip by their full name. */
export class ArchiveReader {
  private readonly entries = new Map<string, Entry>();

  constructor(private readonly file: RandomFile) {
    const { start, count, size } = this.findDirectory();
    this.readDirectory(file.read(start, size), count);
  }

  names(): IterableIterator<string> {
    return this.entries.keys();
  }

  sizeOf(name: string): number | undefined {
    return this.entries.get(name)?.size;
  }

  /** The checked content of an entry. */
  read(name: string): Uint8Array {
    return new Uint8Array(this.readBuffer(name));
  }

  /** As `read`, into memory of its own, which may be larger than one array can see. */
  readBuffer(name: string): ArrayBuffer {
    const { file } = this;
    const entry = this.entries.get(name);
    if (entry === undefined) throw file.broken(`it has no entry ${name}`);
    const header = view(file.read(entry.header, 30));
    if (header.getUint32(0, true) !== LOCAL) throw file.broken(`the entry ${name} has no header`);
    const start = entry.header + 30 + header.getUint16(26, true) + header.getUint16(28, true);
    const content = this.unpacked(name, entry, start);
    if (content.byteLength !== entry.size) throw file.broken(`the entry ${name} has a wrong length`);
    let crc = 0;
    for (const piece of pieces(content)) crc = checksum(piece, crc);
    if (crc !== entry.crc) throw file.broken(`the entry ${name} has a wrong checksum`);
    return content;
  }

  private unpacked(name: string, entry: Entry, start: number): ArrayBuffer {
    const { file } = this;
    if (entry.method === 0) return file.readBuffer(start, entry.compressed);
    if (entry.method !== 8)
      throw file.broken(
        `the entry ${name} is packed by method ${entry.method}, expected 0 (stored) or 8 (deflated)`,
      );
    const packed = new Uint8Array(file.readBuffer(start, entry.compressed));
    try {
      const content = inflateRawSync(packed, { maxOutputLength: Math.max(1, entry.size) });
      return content.byteLength === content.buffer.byteLength
        ? (content.buffer as ArrayBuffer)
        : (Uint8Array.from(content).buffer as ArrayBuffer);
    } catch {
      throw file.broken(`the entry ${name} does not unpack`);
    }
  }

  /** The end record lies within the last 64 KiB; zip64 puts the true figures into a record before it. */
  private findDirectory(): { start: number; count: number; size: number } {
    const { file } = this;
    const length = Math.min(file.size, 65_557);
    const tail = view(file.read(file.size - length, length));
    for (let at = length - 22; at >= 0; at--) {
      if (tail.getUint32(at, true) !== END) continue;
      let count = tail.getUint16(at + 10, true);
      let size = tail.getUint32(at + 12, true);
      let start = tail.getUint32(at + 16, true);
      if (at >= 20 && tail.getUint32(at - 20, true) === END64_LOCATOR) {
        const wide = view(file.read(this.exact(tail.getBigUint64(at - 12, true)), 56));
        if (wide.getUint32(0, true) !== END64)
          throw file.broken('its zip64 record is not where it should be');
        count = this.exact(wide.getBigUint64(32, true));
        size = this.exact(wide.getBigUint64(40, true));
        start = this.exact(wide.getBigUint64(48, true));
      }
      return { start, count, size };
    }
    throw file.broken('it is a zip without a directory, probably cut short');
  }

  private readDirectory(bytes: Uint8Array, count: number): void {
    const { file } = this;
    const directory = view(bytes);
    let at = 0;
    let packed = 0;
    for (let i = 0; i < count; i++) {
      if (at + 46 > bytes.byteLength || directory.getUint32(at, true) !== CENTRAL)
        throw file.broken('its directory is incomplete');
      const nameLength = directory.getUint16(at + 28, true);
      const extraLength = directory.getUint16(at + 30, true);
      const entry: Entry = {
        method: directory.getUint16(at + 10, true),
        crc: directory.getUint32(at + 16, true),
        compressed: directory.getUint32(at + 20, true),
        size: directory.getUint32(at + 24, true),
        header: directory.getUint32(at + 42, true),
      };
      const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
      this.widen(entry, bytes.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength));
      if (this.entries.has(name)) throw file.broken(`it has two entries named ${name}`);
      packed += entry.compressed;
      if (packed > file.size) throw file.broken('its entries overlap');
      this.entries.set(name, entry);
      at += 46 + nameLength + extraLength + directory.getUint16(at + 32, true);
    }
  }

  /** Figures beyond 32 bits stand in the extra field 1, in this order, each only where the short one is full. */
  private widen(entry: Entry, extra: Uint8Array): void {
    const fields = view(extra);
    for (let at = 0; at + 4 <= extra.byteLength; at += 4 + fields.getUint16(at + 2, true)) {
      if (fields.getUint16(at, true) !== 1) continue;
      const end = Math.min(extra.byteLength, at + 4 + fields.getUint16(at + 2, true));
      let next = at + 4;
      for (const key of ['size', 'compressed', 'header'] as const) {
        if (entry[key] !== FULL32) continue;
        if (next + 8 > end) throw this.file.broken('a zip64 field is incomplete');
        entry[key] = this.exact(fields.getBigUint64(next, true));
        next += 8;
      }
    }
  }

  private exact(value: bigint): number {
    if (value > BigInt(this.file.size)) throw this.file.broken('its directory points beyond its end');
    return Number(value);
  }
}

/** PyTorch lets storages begin at multiples of this, so that they can be mapped. */
const ALIGNMENT = 64;

/** Appends stored entries, each aligned, then the directory; zip64 where 32 bits do not do. */
export class ArchiveWriter {
  private offset = 0;
  private readonly entries: { name: Uint8Array; crc: number; size: number; header: number }[] = [];

  constructor(private readonly append: (bytes: Uint8Array) => void) {}

  add(fullName: string, content: Uint8Array): void {
    this.addPieces(fullName, content.byteLength, () => [content]);
  }

  /** As `add`, for `size` bytes in pieces; those of more than one are made twice, since the checksum stands first. */
  addPieces(fullName: string, size: number, make: () => Iterable<Uint8Array>): void {
    const name = new TextEncoder().encode(fullName);
    let crc = 0;
    const first: Uint8Array[] = [];
    for (const piece of make()) {
      crc = checksum(piece, crc);
      if (piece.byteLength === size) first.push(piece);
    }
    const content = first.length > 0 ? first : make();
    const header = this.offset;
    const wide = size >= FULL32 ? 20 : 0;
    const bare = header + 30 + name.byteLength + wide + 4;
    const padding = (ALIGNMENT - (bare % ALIGNMENT)) % ALIGNMENT;
    const local = new DataView(new ArrayBuffer(30));
    local.setUint32(0, LOCAL, true);
    this.common(local, 4, { crc, size, nameLength: name.byteLength, extraLength: wide + 4 + padding });
    const extra = new DataView(new ArrayBuffer(wide + 4 + padding));
    if (wide > 0) {
      extra.setUint16(0, 1, true);
      extra.setUint16(2, 16, true);
      extra.setBigUint64(4, BigInt(size), true);
      extra.setBigUint64(12, BigInt(size), true);
    }
    // PyTorch's own id for padding; readers pass over it
    extra.setUint16(wide, 0x4246, true);
    extra.setUint16(wide + 2, padding, true);
    for (const part of [bytesOfView(local), name, bytesOfView(extra)]) this.write(part);
    for (const piece of content) this.write(piece);
    this.entries.push({ name, crc, size, header });
  }

  finish(): void {
    const start = this.offset;
    for (const entry of this.entries) this.directoryEntry(entry);
    const size = this.offset - start;
    const count = this.entries.length;
    if (count >= 0xffff || start >= FULL32 || size >= FULL32) this.end64(start, size, count);
    const end = new DataView(new ArrayBuffer(22));
    end.setUint32(0, END, true);
    end.setUint16(8, Math.min(count, 0xffff), true);
    end.setUint16(10, Math.min(count, 0xffff), true);
    end.setUint32(12, Math.min(size, FULL32), true);
    end.setUint32(16, Math.min(start, FULL32), true);
    this.write(bytesOfView(end));
  }

  private directoryEntry({ name, crc, size, header }: (typeof this.entries)[number]): void {
    const wide = [...(size >= FULL32 ? [size, size] : []), ...(header >= FULL32 ? [header] : [])];
    const extra = new DataView(new ArrayBuffer(wide.length > 0 ? 4 + 8 * wide.length : 0));
    if (wide.length > 0) {
      extra.setUint16(0, 1, true);
      extra.setUint16(2, 8 * wide.length, true);
      wide.forEach((value, i) => {
        extra.setBigUint64(4 + 8 * i, BigInt(value), true);
      });
    }
    const central = new DataView(new ArrayBuffer(46));
    central.setUint32(0, CENTRAL, true);
    central.setUint16(4, 45, true);
    this.common(central, 6, { crc, size, nameLength: name.byteLength, extraLength: extra.byteLength });
    central.setUint32(42, Math.min(header, FULL32), true);
    for (const part of [bytesOfView(central), name, bytesOfView(extra)]) this.write(part);
  }

  /** The fields that local and central headers share, from "version needed" on. */
  private common(
    target: DataView,
    at: number,
    fields: { crc: number; size: number; nameLength: number; extraLength: number },
  ): void {
    target.setUint16(at, 45, true);
    target.setUint16(at + 2, 0x0800, true); // names are UTF-8
    target.setUint16(at + 8, 0x21, true); // 1980-01-01: equal content gives equal files
    target.setUint32(at + 10, fields.crc, true);
    target.setUint32(at + 14, Math.min(fields.size, FULL32), true);
    target.setUint32(at + 18, Math.min(fields.size, FULL32), true);
    target.setUint16(at + 22, fields.nameLength, true);
    target.setUint16(at + 24, fields.extraLength, true);
  }

  private end64(start: number, size: number, count: number): void {
    const at = this.offset;
    const wide = new DataView(new ArrayBuffer(56 + 20));
    wide.setUint32(0, END64, true);
    wide.setBigUint64(4, 44n, true);
    wide.setUint16(12, 45, true);
    wide.setUint16(14, 45, true);
    wide.setBigUint64(24, BigInt(count), true);
    wide.setBigUint64(32, BigInt(count), true);
    wide.setBigUint64(40, BigInt(size), true);
    wide.setBigUint64(48, BigInt(start), true);
    wide.setUint32(56, END64_LOCATOR, true);
    wide.setBigUint64(64, BigInt(at), true);
    wide.setUint32(72, 1, true);
    this.write(bytesOfView(wide));
  }

  private write(bytes: Uint8Array): void {
    this.append(bytes);
    this.offset += bytes.byteLength;
  }
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bytesOfView(data: DataView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
