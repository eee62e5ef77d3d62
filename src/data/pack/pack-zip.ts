/** `train.zip`, its entries stored as they are, and `train_map.txt` with the label of each. */

import { join } from 'node:path';
import { Readable } from 'node:stream';
import { ZipFile } from 'yazl';
import { AtomicFile } from '../../files.js';
import { plain } from './items.js';
import type { PackWriter } from './pack.js';

/** The same pictures give the same bytes. */
const TIME = new Date(1980, 0, 1, 12);
/** Entries that may wait to be written. */
const WAITING = 4;

export const packZip: PackWriter = async (items, { folder, split, classes }) => {
  const file = new AtomicFile(join(folder, `${split}.zip`));
  const isLabelled = classes.length > 0;
  const folders = folderNames(classes);
  let map: AtomicFile | undefined;
  const zip = new ZipFile();
  let waiting = 0;
  let onTaken = () => {};
  const failed = new Promise<never>((_, reject) => {
    zip.on('error', (error: unknown) => reject(error));
  });
  failed.catch(() => undefined); // thrown to whoever waits
  const drain = async () => {
    for await (const part of zip.outputStream) file.append(part as Buffer);
  };
  const written = drain();
  written.catch(() => undefined); // thrown to whoever waits
  try {
    if (isLabelled) map = new AtomicFile(join(folder, `${split}_map.txt`));
    for await (const { name, extension, label, bytes } of items) {
      const path = `${label < 0 ? '' : `${folders[label]}/`}${name}${extension}`;
      map?.append(Buffer.from(`${split}.zip@/${path}\t${label}\n`));
      // The archive keeps what it was given until its end, so it gets the bytes when it asks for them.
      let held: Uint8Array | undefined = bytes;
      waiting++;
      zip.addReadStreamLazy(path, { compress: false, mtime: TIME, size: bytes.length }, (give) => {
        const now = held as Uint8Array;
        held = undefined;
        waiting--;
        onTaken();
        give(null, Readable.from([Buffer.from(now.buffer, now.byteOffset, now.byteLength)]));
      });
      while (waiting >= WAITING)
        await Promise.race([
          new Promise<void>((resolve) => {
            onTaken = resolve;
          }),
          written,
          failed,
        ]);
    }
    zip.end();
    await Promise.race([written, failed]);
    file.commit();
    map?.commit();
    return { files: [file.path, ...(map === undefined ? [] : [map.path])], bytes: file.size };
  } finally {
    file.abandon();
    map?.abandon();
  }
};

/** The folder of each class: its name, made fit for a path, with its number where that is not its own. */
function folderNames(classes: readonly string[]): string[] {
  const names = classes.map(plain);
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return names.map((name, i) => (counts.get(name) === 1 ? name : `${name}~${i}`));
}
