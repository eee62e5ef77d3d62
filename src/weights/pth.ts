/** Reads PyTorch checkpoints, of the zip format (since 1.6) and of the older one, without running anything. */

import { UserError } from '../errors.js';
import { ArchiveReader, RandomFile } from './archive.js';
import { allowedGlobals } from './globals.js';
import { Global, Intermediate, type PickleItem } from './pickle-items.js';
import {
  asOutlines,
  DTypeName,
  Storage,
  StorageMemory,
  StorageType,
  storedBytes,
  type TensorMaker,
  TensorOutline,
  withValues,
} from './storage.js';
import { PickleEnd, unpickle } from './unpickle.js';
import { Namespace, OrderedDict, PyDType, PyTuple, type PyValue } from './values.js';

/** What `torch.save` wrote into `path`, tensors on the CPU. Tensors that shared memory share it again. */
export function readPth(path: string): PyValue {
  return read(path, withValues).value;
}

export interface PthOutline {
  /** 'zip', or 'legacy' for the format before PyTorch 1.6 */
  format: 'zip' | 'legacy';
  /** of the file in bytes */
  size: number;
  /** what is in it, with a `TensorOutline` wherever a tensor is */
  value: PyValue;
}

/** What is in a file, without its weights: only the pickle is read, however large the file. */
export function outlinePth(path: string): PthOutline {
  return read(path, asOutlines);
}

function read(path: string, maker: TensorMaker): PthOutline {
  const file = new RandomFile(path);
  try {
    const { size } = file;
    const head = file.read(0, Math.min(size, 512));
    if (head.byteLength >= 4 && head[0] === 0x50 && head[1] === 0x4b)
      return { format: 'zip', size, value: readArchive(file, maker) };
    if (head[0] === 0x80) return { format: 'legacy', size, value: readLegacy(file, maker) };
    throw new UserError('checkpoint', `${path} is not a PyTorch checkpoint${guess(head, size)}.`);
  } finally {
    file.close();
  }
}

/** What a file that is no checkpoint seems to be. */
function guess(head: Uint8Array, size: number): string {
  if (size === 0) return ': it is empty; the download or the save did not finish';
  const text = Buffer.from(head).toString('latin1');
  if (/^\s*</.test(text)) return ': it is a web page, probably the error page of a dead link';
  if (text.includes('git-lfs')) return ': it is a pointer of Git LFS; run `git lfs pull`';
  if (text[8] === '{') return ': it looks like a safetensors file; give it that ending';
  return '';
}

function readArchive(file: RandomFile, maker: TensorMaker): PyValue {
  const archive = new ArchiveReader(file);
  const pickle = [...archive.names()].find((name) => /^[^/]*\/data\.pkl$/.test(name));
  if (pickle === undefined) throw file.broken('it is a zip, but has no data.pkl as torch.save makes it');
  const folder = pickle.slice(0, -'data.pkl'.length);
  if (archive.sizeOf(`${folder}constants.pkl`) !== undefined)
    throw new UserError(
      'checkpoint',
      `${file.path} is a TorchScript program, not weights; save its state_dict().`,
    );
  if (archive.sizeOf(`${folder}byteorder`) !== undefined)
    checkOrder(
      file,
      Buffer.from(archive.read(`${folder}byteorder`))
        .toString('latin1')
        .trim() === 'little',
    );

  const memories = new Map<string, StorageMemory>();
  const persistentLoad = (id: PickleItem): Storage => {
    const { type, key, numel } = storageId(file, id);
    const name = `${folder}data/${key}`;
    const size = archive.sizeOf(name);
    const expected = numel * storedBytes(type.dtype);
    if (size === undefined) throw file.broken(`it lacks the storage ${key}`);
    if (size !== expected)
      throw file.broken(
        `the storage ${key} has ${size} bytes, expected ${expected} for ${numel} ${type.dtype}`,
      );
    const memory =
      memories.get(key) ?? new StorageMemory(key, size, () => archive.readBuffer(name), file.path);
    memories.set(key, memory);
    return new Storage(memory, type, numel);
  };
  try {
    const { value } = unpickle(archive.read(pickle), {
      findGlobal: allowedGlobals(file.path, maker),
      persistentLoad,
      source: file.path,
    });
    return settle(file, value);
  } finally {
    for (const memory of memories.values()) memory.release();
  }
}

const MAGIC = 0x1950a86a20f9469cfc6cn;

/**
 * Four pickles, the list of storage keys, then each storage: its length (int64) and its elements. The pickles
 * are gone through twice: first for the places of the storages, so that figures are checked before memory is
 * taken, then for the tensors.
 */
function readLegacy(file: RandomFile, maker: TensorMaker): PyValue {
  const sizes = new Map<string, { numel: number; bytes: number }>();
  const outline = readLegacyPickles(file, asOutlines, ({ type, key, numel }) => {
    const bytes = numel * storedBytes(type.dtype);
    const known = sizes.get(key) ?? { numel, bytes };
    if (known.numel !== numel || known.bytes !== bytes)
      throw file.broken(`the storage ${key} has two types or lengths`);
    sizes.set(key, known);
    return new StorageMemory(key, bytes, () => new ArrayBuffer(0), file.path);
  });
  const places = storagePlaces(file, outline, sizes);
  if (maker === asOutlines) return outline.value;

  const memories = new Map<string, StorageMemory>();
  try {
    return readLegacyPickles(file, maker, ({ key }) => {
      const { start, bytes } = places.get(key) as { start: number; bytes: number };
      const memory =
        memories.get(key) ?? new StorageMemory(key, bytes, () => file.readBuffer(start, bytes), file.path);
      memories.set(key, memory);
      return memory;
    }).value;
  } finally {
    for (const memory of memories.values()) memory.release();
  }
}

function readLegacyPickles(
  file: RandomFile,
  maker: TensorMaker,
  memoryOf: (id: ReturnType<typeof storageId>) => StorageMemory,
): { value: PyValue; keys: string[]; end: number } {
  const persistentLoad = (found: PickleItem): Storage => {
    const id = storageId(file, found);
    const { type, key, numel, view } = id;
    const memory = memoryOf(id);
    if (view === undefined) return new Storage(memory, type, numel);
    if (view.offset + view.size > numel) throw file.broken(`a view of the storage ${key} reaches beyond it`);
    return new Storage(memory, type, view.size, view.offset);
  };
  const options = { findGlobal: allowedGlobals(file.path, maker), persistentLoad, source: file.path };
  const pickles = readPickles(file);
  if (pickles.next(options) !== MAGIC)
    throw new UserError('checkpoint', `${file.path} is a pickle, but not one of torch.save.`);
  pickles.next(options); // protocol version
  const system = pickles.next(options);
  if (system instanceof Map) checkOrder(file, system.get('little_endian') !== false);
  const value = settle(file, pickles.next(options));
  const keys = pickles.next(options);
  if (!Array.isArray(keys)) throw file.broken('its list of storages is missing');
  return { value, keys: keys.map(String), end: pickles.end };
}

/** Where the elements of each storage lie, after the pickles. */
function storagePlaces(
  file: RandomFile,
  { keys, end }: { keys: readonly string[]; end: number },
  sizes: ReadonlyMap<string, { numel: number; bytes: number }>,
): Map<string, { start: number; bytes: number }> {
  const places = new Map<string, { start: number; bytes: number }>();
  let at = end;
  for (const key of keys) {
    const size = sizes.get(key);
    if (size === undefined || places.has(key))
      throw file.broken(`the storage ${key} belongs to no tensor, or comes twice`);
    const count = new DataView(file.read(at, 8).buffer).getBigInt64(0, true);
    if (count !== BigInt(size.numel))
      throw file.broken(`the storage ${key} has ${count} elements, expected ${size.numel}`);
    places.set(key, { start: at + 8, bytes: size.bytes });
    at += 8 + size.bytes;
    if (at > file.size) throw file.broken('it ends too early');
  }
  const missing = [...sizes.keys()].find((key) => !places.has(key));
  if (missing !== undefined) throw file.broken(`it lacks the storage ${missing}`);
  return places;
}

/** Pickles one after the other, of a file that may be much longer than they are. */
function readPickles(file: RandomFile) {
  let bytes = file.read(0, Math.min(file.size, 1 << 24));
  let end = 0;
  return {
    get end() {
      return end;
    },
    next(options: Parameters<typeof unpickle>[1]): PickleItem {
      for (;;) {
        try {
          const result = unpickle(bytes, options, end);
          end = result.end;
          return result.value;
        } catch (error) {
          // only a pickle that is longer than what was read of it is worth another try
          if (!(error instanceof PickleEnd) || bytes.byteLength === file.size) throw error;
          bytes = file.read(0, Math.min(file.size, bytes.byteLength * 8));
        }
      }
    },
  };
}

function checkOrder(file: RandomFile, little: boolean): void {
  if (!little)
    throw new UserError(
      'checkpoint',
      `${file.path} was written on a big-endian machine, expected little-endian; save it again on another one.`,
    );
}

/** ('storage', type, key, location, numel), and in old files (view key, offset, size) or None. */
function storageId(file: RandomFile, id: PickleItem) {
  const [tag, type, key, , numel, view] = id instanceof PyTuple ? (id.items as readonly PickleItem[]) : [];
  if (tag !== 'storage' || !(type instanceof StorageType) || typeof key !== 'string')
    throw file.broken('a tensor names no storage');
  if (typeof numel !== 'number' || numel < 0 || !Number.isSafeInteger(numel * storedBytes(type.dtype)))
    throw file.broken(`the storage ${key} has an impossible length`);
  if (view === undefined || view === null) return { type, key, numel };
  const [, offset, size] = view instanceof PyTuple ? view.items : [];
  if (typeof offset !== 'number' || typeof size !== 'number' || offset < 0 || size < 0)
    throw file.broken(`a view of the storage ${key} has no place`);
  return { type, key, numel, view: { offset, size } };
}

/** Checks that only values are left, and turns names of dtypes into values. Iterative: nesting may be deep. */
function settle(file: RandomFile, root: PickleItem): PyValue {
  const final = (item: unknown): PyValue => {
    if (item instanceof DTypeName) return new PyDType(item.dtype);
    if (item instanceof Storage) throw file.broken('it holds a bare storage; save tensors instead');
    if (item instanceof Global || (item instanceof Intermediate && !(item instanceof TensorOutline)))
      throw new UserError(
        'checkpoint',
        `${file.path} holds ${item instanceof Global ? `the Python name ${item.name}` : 'a numpy type'} as a value, expected data; save its text instead.`,
      );
    return item as PyValue;
  };
  const seen = new Set<unknown>();
  const open: unknown[] = [];
  /** Looks at one item, and puts it aside if it may hold others. */
  const visit = (item: unknown): PyValue => {
    const value = final(item);
    if (typeof value === 'object' && value !== null && !seen.has(value)) {
      seen.add(value);
      open.push(value);
    }
    return value;
  };
  const value = visit(root);
  for (let item = open.pop(); item !== undefined; item = open.pop()) {
    if (item instanceof OrderedDict && item.attributes !== undefined) visit(item.attributes);
    if (item instanceof Namespace) visit(item.entries);
    else if (Array.isArray(item) || item instanceof PyTuple) {
      const items = (Array.isArray(item) ? item : item.items) as PyValue[];
      for (let i = 0; i < items.length; i++) items[i] = visit(items[i]);
    } else if (item instanceof Map) {
      for (const [key, held] of item) {
        visit(key);
        item.set(key, visit(held));
      }
    } else if (item instanceof Set) for (const held of item) visit(held);
  }
  return value;
}
