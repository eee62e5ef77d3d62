/** Reads PyTorch checkpoints, of the zip format (since 1.6) and of the older one, without running anything. */

import { UserError } from '../errors.js';
import { bytesOf, fromBuffer } from '../torch/index.js';
import { ArchiveReader, RandomFile } from './archive.js';
import { allowedGlobals, DTypeName, Storage, StorageType } from './globals.js';
import { type PickleItem, unpickle } from './unpickle.js';
import { PyDType, PyTuple, type PyValue } from './values.js';

/** What `torch.save` wrote into `path`, tensors on the CPU. Tensors that shared memory share it again. */
export function readPth(path: string): PyValue {
  const file = new RandomFile(path);
  try {
    const head = file.read(0, Math.min(file.size, 512));
    if (head.byteLength >= 4 && head[0] === 0x50 && head[1] === 0x4b) return readArchive(file);
    if (head[0] === 0x80) return readLegacy(file);
    throw new UserError('checkpoint', `${path} is not a PyTorch checkpoint${guess(head, file.size)}.`);
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

function readArchive(file: RandomFile): PyValue {
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

  const storages = new Map<string, Storage>();
  const persistentLoad = (id: PickleItem): Storage => {
    const { type, key, numel } = storageId(file, id);
    const known = storages.get(key);
    if (known !== undefined && known.dtype === type.dtype) return known;
    const name = `${folder}data/${key}`;
    const expected = numel * bytesOf(type.dtype);
    const size = archive.sizeOf(name);
    if (size === undefined) throw file.broken(`it lacks the storage ${key}`);
    if (size !== expected)
      throw file.broken(
        `the storage ${key} has ${size} bytes, expected ${expected} for ${numel} ${type.dtype}`,
      );
    const storage = new Storage(type.dtype, numel, () =>
      fromBuffer(archive.read(name).buffer as ArrayBuffer, { shape: [numel], dtype: type.dtype }),
    );
    storages.set(key, storage);
    return storage;
  };
  const { value } = unpickle(archive.read(pickle), {
    findGlobal: allowedGlobals(file.path),
    persistentLoad,
    source: file.path,
  });
  for (const storage of storages.values()) storage.release();
  return settle(file, value);
}

const MAGIC = 0x1950a86a20f9469cfc6cn;

/** Four pickles, the list of storage keys, then each storage: its length (int64) and its elements. */
function readLegacy(file: RandomFile): PyValue {
  const pickles = readPickles(file);
  const storages = new Map<string, { storage: Storage; memory: ArrayBuffer }>();
  let claimed = 0;
  const persistentLoad = (id: PickleItem): Storage => {
    const { type, key, numel, view } = storageId(file, id);
    const { dtype } = type;
    let known = storages.get(key);
    if (known === undefined) {
      claimed += numel * bytesOf(dtype);
      if (claimed > file.size)
        throw file.broken(`the storage ${key} of ${numel} ${dtype} is larger than the file`);
      const memory = new ArrayBuffer(numel * bytesOf(dtype));
      known = {
        memory,
        storage: new Storage(dtype, numel, () => fromBuffer(memory, { shape: [numel], dtype })),
      };
      storages.set(key, known);
    }
    if (known.storage.dtype !== dtype) throw file.broken(`the storage ${key} has two types`);
    if (view === undefined) return known.storage;
    const root = known.storage;
    if (view.offset + view.size > root.numel)
      throw file.broken(`a view of the storage ${key} reaches beyond it`);
    return new Storage(dtype, view.size, () => root.elements.view([root.numel]), view.offset);
  };
  const options = { findGlobal: allowedGlobals(file.path), persistentLoad, source: file.path };

  const magic = pickles.next(options);
  if (magic !== MAGIC)
    throw new UserError('checkpoint', `${file.path} is a pickle, but not one of torch.save.`);
  pickles.next(options); // protocol version
  const system = pickles.next(options);
  if (system instanceof Map) checkOrder(file, system.get('little_endian') !== false);
  const value = pickles.next(options);
  const keys = pickles.next(options);
  if (!Array.isArray(keys)) throw file.broken('its list of storages is missing');
  let at = pickles.end;
  for (const key of keys) {
    const known = storages.get(String(key));
    if (known === undefined) throw file.broken(`the storage ${String(key)} belongs to no tensor`);
    const header = file.read(at, 8);
    const count = new DataView(header.buffer).getBigInt64(0, true);
    if (count !== BigInt(known.storage.numel))
      throw file.broken(`the storage ${String(key)} has ${count} elements, expected ${known.storage.numel}`);
    file.readInto(new Uint8Array(known.memory), at + 8);
    at += 8 + known.memory.byteLength;
    storages.delete(String(key));
    known.storage.release();
  }
  if (storages.size > 0) throw file.broken(`it lacks the storage ${[...storages.keys()][0]}`);
  return settle(file, value);
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
          if (bytes.byteLength === file.size) throw error;
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
  if (typeof numel !== 'number' || numel < 0 || !Number.isSafeInteger(numel * bytesOf(type.dtype)))
    throw file.broken(`the storage ${key} has an impossible length`);
  if (view === undefined || view === null) return { type, key, numel };
  const [, offset, size] = view instanceof PyTuple ? view.items : [];
  if (typeof offset !== 'number' || typeof size !== 'number' || offset < 0 || size < 0)
    throw file.broken(`a view of the storage ${key} has no place`);
  return { type, key, numel, view: { offset, size } };
}

/** Checks that only values are left, and turns names of dtypes into values. Iterative: nesting may be deep. */
function settle(file: RandomFile, root: PickleItem): PyValue {
  const final = (item: PyValue): PyValue => {
    if ((item as PickleItem) instanceof DTypeName) return new PyDType((item as unknown as DTypeName).dtype);
    return item;
  };
  const seen = new Set<unknown>();
  const open: unknown[] = [root];
  while (open.length > 0) {
    const item = open.pop();
    if (typeof item !== 'object' || item === null || seen.has(item)) continue;
    seen.add(item);
    if (item instanceof Storage || item instanceof StorageType)
      throw file.broken('it holds a bare storage; save tensors instead');
    if (Array.isArray(item)) {
      for (let i = 0; i < item.length; i++) item[i] = final(item[i]);
      open.push(...chunked(item));
    } else if (item instanceof PyTuple) {
      const items = item.items as PyValue[];
      for (let i = 0; i < items.length; i++) items[i] = final(items[i]);
      open.push(...chunked(items));
    } else if (item instanceof Map) {
      for (const [key, value] of item) {
        item.set(key, final(value));
        open.push(value);
      }
    } else if ('entries' in item && item.entries instanceof Map) {
      open.push(item.entries);
    }
  }
  return final(root as PyValue);
}

/** Only what may hold something: spreading a million numbers onto the stack would overflow it. */
function chunked(items: readonly PyValue[]): PyValue[] {
  const holders = items.filter((item) => typeof item === 'object' && item !== null);
  if (holders.length <= 10_000) return holders;
  return [holders.slice(0, holders.length >> 1), holders.slice(holders.length >> 1)];
}
