/** Walks the headers of a tar archive: what lies where, without reading the contents. */

import { ShardFiles } from './shard-files.js';

export interface TarEntry {
  name: string;
  /** where the content begins, in bytes */
  offset: number;
  size: number;
  /** the content, if it is at most a thousand bytes; only while the entry is visited */
  content(): Buffer | undefined;
}

const BLOCK = 512;
/** Read at once: a header, a small content, and the header after it. */
const WINDOW = 4096;
const SMALL = 1024;
/** Long names and extended headers beyond this are no names. */
const LONGEST_HEADER = 1 << 20;

const TYPE = {
  file: '0',
  oldFile: '\0',
  contiguous: '7',
  longName: 'L',
  longLink: 'K',
  pax: 'x',
  global: 'g',
};

/** Throws an Error with the place for what is no tar archive. An archive that is cut off ends at the cut. */
export function walkTar(path: string, visit: (entry: TarEntry) => void): void {
  const file = new ShardFiles([path]);
  try {
    const end = file.size(0);
    let window: Buffer = Buffer.alloc(0);
    let windowAt = 0;
    const bytesAt = (offset: number, length: number): Buffer => {
      if (offset < windowAt || offset + length > windowAt + window.length) {
        window = file.readAt(0, offset, Math.max(length, WINDOW));
        windowAt = offset;
      }
      return window.subarray(offset - windowAt, offset - windowAt + length);
    };
    let longName: string | undefined;
    let longSize: number | undefined;
    for (let at = 0; at + BLOCK <= end; ) {
      const header = bytesAt(at, BLOCK);
      if (header.length < BLOCK || header[0] === 0) {
        if (header.every((byte) => byte === 0)) break; // the end mark
      }
      if (checksum(header) !== octal(header, 148, 8)) throw new Error(`no tar header at byte ${at}`);
      const type = String.fromCharCode(header[156]);
      const stated = longSize ?? size(header);
      const offset = at + BLOCK;
      if (!Number.isSafeInteger(stated) || stated < 0)
        throw new Error(`a tar entry without a size at byte ${at}`);
      if (type === TYPE.longName || type === TYPE.pax || type === TYPE.global || type === TYPE.longLink) {
        if (stated > LONGEST_HEADER) throw new Error(`a header of ${stated} bytes at byte ${at}`);
        const content = Buffer.from(bytesAt(offset, stated));
        if (type === TYPE.longName) longName = content.toString().replace(/\0.*$/s, '');
        if (type === TYPE.pax) {
          const records = paxRecords(content);
          longName = records.get('path') ?? longName;
          const text = records.get('size');
          if (text !== undefined && /^\d{1,15}$/.test(text)) longSize = Number(text);
        }
      } else {
        const name = longName ?? shortName(header);
        if (type === TYPE.file || type === TYPE.oldFile || type === TYPE.contiguous)
          visit({
            name,
            offset,
            size: stated,
            content: () => (stated <= SMALL ? Buffer.from(bytesAt(offset, stated)) : undefined),
          });
        longName = undefined;
        longSize = undefined;
      }
      at = offset + Math.ceil(stated / BLOCK) * BLOCK;
    }
  } finally {
    file.close();
  }
}

/** The sum of a header's bytes, with blanks in place of the sum itself. */
function checksum(header: Buffer): number {
  let sum = 0;
  for (let i = 0; i < header.length; i++) sum += i >= 148 && i < 156 ? 32 : header[i];
  return sum;
}

/** A number in octal digits, with blanks and zero bytes around it; NaN if it is none. */
function octal(header: Buffer, at: number, length: number): number {
  let value = 0;
  let digits = 0;
  for (let i = at; i < at + length; i++) {
    const byte = header[i];
    if (byte >= 48 && byte <= 55) {
      value = value * 8 + byte - 48;
      digits++;
    } else if (byte === 0 || (byte === 32 && digits > 0)) break;
    else if (byte !== 32) return Number.NaN;
  }
  return digits > 0 ? value : Number.NaN;
}

/** Octal, or, above 8 GiB, a binary number whose first bit is set. */
function size(header: Buffer): number {
  if (header[124] !== 0x80) return octal(header, 124, 12);
  let value = 0;
  for (let i = 125; i < 136; i++) value = value * 256 + header[i];
  return value;
}

function shortName(header: Buffer): string {
  const name = text(header, 0, 100);
  const isUstar = header[345] !== 0 && header.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isUstar ? text(header, 345, 155) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Up to the first zero byte. */
function text(header: Buffer, at: number, length: number): string {
  const end = header.indexOf(0, at);
  return header.toString('utf8', at, end < 0 || end > at + length ? at + length : end);
}

/** `length key=value\n` records. */
function paxRecords(content: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < content.length; ) {
    const blank = content.indexOf(32, at);
    const length = blank < 0 ? Number.NaN : Number(content.toString('latin1', at, blank));
    if (!Number.isInteger(length) || length <= blank - at || at + length > content.length) break;
    const record = content.toString('utf8', blank + 1, at + length - 1);
    const equals = record.indexOf('=');
    if (equals > 0) records.set(record.slice(0, equals), record.slice(equals + 1));
    at += length;
  }
  return records;
}
