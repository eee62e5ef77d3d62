/** `train-000000.tar`, `train-000001.tar` …: shards as WebDataset reads them, `KEY.jpg` with `KEY.cls` beside it. */

import { join } from 'node:path';
import { type Pack, pack } from 'tar-stream';
import { AtomicFile } from '../../files.js';
import type { PackWriter } from './pack.js';

const BLOCK = 512;
/** The same pictures give the same bytes. */
const TIME = new Date(0);

class Shard {
  private readonly archive: Pack = pack();
  private readonly file: AtomicFile;
  private readonly written: Promise<void>;
  /** bytes that the entries take, headers included */
  taken = 0;

  constructor(readonly path: string) {
    this.file = new AtomicFile(path);
    this.written = this.drain();
    this.written.catch(() => undefined); // thrown to whoever waits for it
  }

  async add(name: string, content: Uint8Array): Promise<void> {
    this.taken += BLOCK + Math.ceil(content.length / BLOCK) * BLOCK;
    const entered = new Promise<void>((resolve, reject) => {
      const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
      this.archive.entry({ name, mtime: TIME, mode: 0o644 }, bytes, (error) =>
        error ? reject(error) : resolve(),
      );
    });
    // A disk that is full ends the draining, and nobody would take the entry any more.
    await Promise.race([entered, this.written]);
  }

  /** The size of the file. */
  async end(): Promise<number> {
    this.archive.finalize();
    await this.written;
    this.file.commit();
    return this.file.size;
  }

  abandon(): void {
    this.archive.destroy();
    this.file.abandon();
  }

  private async drain(): Promise<void> {
    for await (const part of this.archive) this.file.append(part as Buffer);
  }
}

export const packTar: PackWriter = async (items, { folder, split, shardBytes }) => {
  const files: string[] = [];
  let bytes = 0;
  let shard: Shard | undefined;
  try {
    for await (const { index, extension, label, bytes: content } of items) {
      if (shard !== undefined && shard.taken + content.length > shardBytes) {
        bytes += await shard.end();
        shard = undefined;
      }
      if (shard === undefined) {
        shard = new Shard(join(folder, `${split}-${String(files.length).padStart(6, '0')}.tar`));
        files.push(shard.path);
      }
      const key = String(index).padStart(9, '0');
      await shard.add(`${key}${extension}`, content);
      if (label >= 0) await shard.add(`${key}.cls`, Buffer.from(String(label)));
    }
    if (shard !== undefined) bytes += await shard.end();
    shard = undefined;
    return { files, bytes };
  } finally {
    shard?.abandon();
  }
};
