/** How long does it take to open 1.3 million pictures in each layout, and how much memory does that cost? */

import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { openImages } from '../src/data/index.js';
import { table } from './peer.js';

const argument = (name: string) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};
const COUNT = Number(argument('count') ?? 1_300_000);
const ROOT = argument('folder') ?? join(tmpdir(), 'esvit-bench-index');
const CLASSES = 1000;
/** What stands in for a picture; nothing is decoded here. */
const CONTENT = Buffer.from('these bytes are no picture');
const LAYOUTS = ['zip', 'tsv', 'tsv, first time', 'tar', 'list', 'folder'] as const;

const folderOf = (i: number) => `n${String(i % CLASSES).padStart(8, '0')}`;
const nameOf = (i: number) => `${folderOf(i)}/${folderOf(i)}_${i}.JPEG`;

/** Many small writes as few large ones. */
class Out {
  private readonly file: number;
  private parts: Buffer[] = [];
  private held = 0;
  size = 0;

  constructor(path: string) {
    this.file = openSync(path, 'w');
  }

  add(part: Buffer): void {
    this.parts.push(part);
    this.held += part.length;
    this.size += part.length;
    if (this.held > 1 << 22) this.flush();
  }

  close(): void {
    this.flush();
    closeSync(this.file);
  }

  private flush(): void {
    writeSync(this.file, Buffer.concat(this.parts));
    this.parts = [];
    this.held = 0;
  }
}

function makeZip(path: string): void {
  const out = new Out(path);
  const directory: Buffer[] = [];
  const crc = crc32(CONTENT);
  for (let i = 0; i < COUNT; i++) {
    const name = Buffer.from(nameOf(i));
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt32LE(crc, 10);
    fields.writeUInt32LE(CONTENT.length, 14);
    fields.writeUInt32LE(CONTENT.length, 18);
    fields.writeUInt16LE(name.length, 22);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(out.size, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00', 'latin1'), fields, tail, name]));
    out.add(Buffer.concat([Buffer.from('PK\x03\x04'), fields, name, CONTENT]));
  }
  const begin = out.size;
  for (const entry of directory) out.add(entry);
  const length = out.size - begin;
  const end = Buffer.alloc(98);
  end.writeUInt32LE(0x06064b50, 0);
  end.writeBigUInt64LE(44n, 4);
  end.writeUInt16LE(45, 12);
  end.writeUInt16LE(45, 14);
  end.writeBigUInt64LE(BigInt(COUNT), 24);
  end.writeBigUInt64LE(BigInt(COUNT), 32);
  end.writeBigUInt64LE(BigInt(length), 40);
  end.writeBigUInt64LE(BigInt(begin), 48);
  end.writeUInt32LE(0x07064b50, 56);
  end.writeBigUInt64LE(BigInt(out.size), 64);
  end.writeUInt32LE(1, 72);
  end.writeUInt32LE(0x06054b50, 76);
  end.fill(0xff, 84, 96);
  out.add(end);
  out.close();
}

function makeTsv(path: string): void {
  const out = new Out(path);
  const content = CONTENT.toString('base64');
  for (let i = 0; i < COUNT; i++) out.add(Buffer.from(`${nameOf(i)}\t${i % CLASSES}\t${content}\n`));
  out.close();
}

function tarEntry(name: string, content: Buffer): Buffer {
  const block = Buffer.alloc(512 + Math.ceil(content.length / 512) * 512);
  block.write(name, 0);
  block.write('0000644\0', 100);
  block.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
  block.write('        ', 148);
  block.write('0', 156);
  block.write('ustar\x0000', 257);
  let sum = 0;
  for (let i = 0; i < 512; i++) sum += block[i];
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  content.copy(block, 512);
  return block;
}

function makeTar(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const shard = 10_000;
  for (let first = 0; first < COUNT; first += shard) {
    const out = new Out(join(folder, `train-${String(first / shard).padStart(6, '0')}.tar`));
    for (let i = first; i < Math.min(COUNT, first + shard); i++) {
      const key = String(i).padStart(9, '0');
      out.add(tarEntry(`${key}.jpg`, CONTENT));
      out.add(tarEntry(`${key}.cls`, Buffer.from(String(i % CLASSES))));
    }
    out.add(Buffer.alloc(1024));
    out.close();
  }
}

function makeFolder(folder: string): void {
  for (let label = 0; label < CLASSES; label++) mkdirSync(join(folder, folderOf(label)), { recursive: true });
  for (let i = 0; i < COUNT; i++) closeSync(openSync(join(folder, nameOf(i)), 'w'));
}

/** Makes what is missing. */
function prepare(): void {
  const missing = (path: string) => !existsSync(join(ROOT, path));
  mkdirSync(ROOT, { recursive: true });
  const make = (path: string, work: (path: string) => void) => {
    if (!missing(`${path}.made`)) return;
    work(join(ROOT, path));
    writeFileSync(join(ROOT, `${path}.made`), '');
  };
  mkdirSync(join(ROOT, 'zip'), { recursive: true });
  mkdirSync(join(ROOT, 'tsv'), { recursive: true });
  mkdirSync(join(ROOT, 'list'), { recursive: true });
  make('zip/train.zip', makeZip);
  make('zip/train_map.txt', (path) => {
    const out = new Out(path);
    for (let i = 0; i < COUNT; i++) out.add(Buffer.from(`train.zip@/${nameOf(i)}\t${i % CLASSES}\n`));
    out.close();
  });
  make('tsv/train.tsv', makeTsv);
  make('tar', makeTar);
  make('folder', makeFolder);
  make('list/train.txt', (path) => {
    const out = new Out(path);
    for (let i = 0; i < COUNT; i++) out.add(Buffer.from(`../folder/${nameOf(i)} ${i % CLASSES}\n`));
    out.close();
  });
}

interface Measured {
  length: number;
  seconds: number;
  /** MB that stay, and most at any time, above a process that has opened nothing */
  stays: number;
  peak: number;
  /** MB that four more threads cost with the same index, beyond four idle ones */
  threads: number;
  /** milliseconds */
  read: number;
}

const megabytes = (bytes: number) => bytes / 1e6;
const rss = () => {
  globalThis.gc?.();
  return process.memoryUsage.rss();
};

/** Runs in a process of its own. */
async function measure(layout: string): Promise<Measured> {
  const kind = layout.startsWith('tsv') ? 'tsv' : layout;
  if (layout === 'tsv, first time') rmSync(join(ROOT, 'tsv/train.lineidx'), { force: true });
  const before = rss();
  const peakBefore = process.resourceUsage().maxRSS * 1024;
  const start = performance.now();
  const source = await openImages(join(ROOT, kind));
  const seconds = (performance.now() - start) / 1000;
  const peak = process.resourceUsage().maxRSS * 1024;
  const after = rss();
  const reads = 2000;
  const begin = performance.now();
  for (let i = 0; i < reads; i++) await source.read(Math.floor((i * 7919 * 31) % source.length));
  const read = (performance.now() - begin) / reads;
  const cost = async (workerData: unknown) => {
    const held = rss();
    const code = "require('node:worker_threads').parentPort.once('message', () => {}).postMessage('here')";
    const workers = await Promise.all(
      Array.from({ length: 4 }, () => {
        const worker = new Worker(code, { eval: true, workerData });
        return new Promise<Worker>((resolve) => worker.once('message', () => resolve(worker)));
      }),
    );
    const cost = rss() - held;
    await Promise.all(workers.map((worker) => worker.terminate()));
    return cost;
  };
  await cost(undefined);
  const idle = await cost(undefined);
  const threads = (await cost(source.share())) - idle;
  source.close();
  return {
    length: source.length,
    seconds,
    stays: megabytes(after - before),
    peak: megabytes(Math.max(peak, peakBefore) - before),
    threads: megabytes(threads),
    read,
  };
}

const layout = argument('layout');
if (layout !== undefined) console.log(JSON.stringify(await measure(layout)));
else {
  prepare();
  if (!process.argv.includes('--prepare')) {
    const rows = LAYOUTS.map((name) => {
      const flags = ['--expose-gc', '--import', 'tsx', fileURLToPath(import.meta.url)];
      const { stdout, status, stderr } = spawnSync(
        process.execPath,
        [...flags, '--layout', name, '--folder', ROOT, '--count', String(COUNT)],
        { encoding: 'utf8' },
      );
      if (status !== 0) throw new Error(stderr);
      const m = JSON.parse(stdout) as Measured;
      return [
        name,
        String(m.length),
        m.seconds.toFixed(1),
        m.stays.toFixed(0),
        m.peak.toFixed(0),
        m.threads.toFixed(0),
        m.read.toFixed(3),
      ];
    });
    console.log(
      table([['layout', 'pictures', 'seconds', 'stays MB', 'peak MB', '4 threads MB', 'read ms'], ...rows]),
    );
  }
}
