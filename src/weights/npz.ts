/** Named arrays in numpy's `.npz` files: a zip of `.npy` files, deflated or not. */

import { UserError } from '../errors.js';
import { writeAtomic } from '../files.js';
import { bytesOf, type Tensor } from '../torch/index.js';
import { ArchiveReader, ArchiveWriter, RandomFile } from './archive.js';
import { type NpyHead, npyHeader, npyTensor, readNpyHead } from './npy.js';
import { elementsOf } from './pieces.js';

/** All arrays of a file by their names, without the ending. */
export function readNpz(path: string): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  for (const { name, head, content } of arrays(path))
    tensors.set(name, npyTensor(head, content.slice(head.start), `${name} in ${path}`));
  return tensors;
}

export interface NpzOutline {
  /** of the file in bytes */
  size: number;
  heads: Map<string, NpyHead>;
}

/** What is in a file. Its entries have to be unpacked for that, one at a time. */
export function outlineNpz(path: string): NpzOutline {
  let bytes = 0;
  const heads = new Map<string, NpyHead>();
  for (const { name, head, size } of arrays(path)) {
    heads.set(name, head);
    bytes = size;
  }
  return { size: bytes, heads };
}

function* arrays(
  path: string,
): Generator<{ name: string; head: NpyHead; content: ArrayBuffer; size: number }> {
  const file = new RandomFile(path);
  try {
    const archive = new ArchiveReader(file);
    for (const entry of archive.names()) {
      if (!entry.endsWith('.npy'))
        throw new UserError(
          'data',
          `${path} holds ${entry}, expected nothing but .npy files as numpy.savez writes.`,
        );
      const name = entry.slice(0, -'.npy'.length);
      const content = archive.readBuffer(entry);
      const head = readNpyHead(
        `${entry} in ${path}`,
        content.byteLength,
        (count) => new Uint8Array(content, 0, count),
      );
      yield { name, head, content, size: file.size };
    }
  } finally {
    file.close();
  }
}

/** Writes `tensors` (any device, any strides) for `numpy.load`. */
export function writeNpz(path: string, tensors: ReadonlyMap<string, Tensor>): void {
  const headers = new Map([...tensors].map(([name, value]) => [name, npyHeader(value.shape, value.dtype)]));
  writeAtomic(path, (append) => {
    const archive = new ArchiveWriter(append);
    for (const [name, value] of tensors) {
      const header = headers.get(name) as Uint8Array;
      archive.addPieces(`${name}.npy`, header.byteLength + value.numel * bytesOf(value.dtype), function* () {
        yield header;
        yield* elementsOf(value);
      });
    }
    archive.finish();
  });
}
