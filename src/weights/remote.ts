/** Weights from an address: fetched once into a cache, whole or not at all, however often the line breaks. */

import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { diskError, renameDurably } from '../files.js';

export interface FetchOptions {
  /** Where fetched files stay; by default ESVIT_CACHE, else `esvit/weights` in the user's cache folder. */
  cache?: string;
  /** Also plain http, without encryption; by default only where ESVIT_ALLOW_HTTP is 1. */
  allowHttp?: boolean;
  /** Attempts in a row that bring nothing new before it is given up. */
  attempts?: number;
  /** Milliseconds before the second attempt; doubled for each further one. */
  pause?: number;
  /** Milliseconds without a byte after which an attempt counts as broken. */
  silence?: number;
  onNote?: (line: string) => void;
}

const REDIRECTS = 10;

export function isAddress(where: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(where);
}

/**
 * The path of the file behind `address`, fetched where it is not in the cache yet. `address#sha256=HEX` is checked.
 * A broken transfer is taken up where it broke, also by a later call, as long as the server's file is the same.
 */
export async function fetchWeights(address: string, options: FetchOptions = {}): Promise<string> {
  const { url, sha256 } = parseAddress(address);
  checkProtocol(url, options);
  const folder = options.cache ?? cacheFolder();
  const name = `${hash(url.href).slice(0, 16)}-${basename(decodeURIComponent(url.pathname)) || 'weights'}`;
  const target = join(folder, name);
  if (existsSync(target)) {
    await checkDigest(target, url, sha256);
    return target;
  }
  try {
    mkdirSync(folder, { recursive: true });
    const transfer = new Transfer(url, target, options);
    try {
      await transfer.run();
      await checkDigest(transfer.part, url, sha256);
      transfer.finish();
    } finally {
      transfer.close();
    }
  } catch (error) {
    throw diskError(target, error);
  }
  return target;
}

function cacheFolder(): string {
  const { ESVIT_CACHE: own, XDG_CACHE_HOME: shared } = process.env;
  if (own !== undefined && own !== '') return own;
  return join(shared !== undefined && shared !== '' ? shared : join(homedir(), '.cache'), 'esvit', 'weights');
}

function parseAddress(address: string): { url: URL; sha256: string | undefined } {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw new UserError('usage', `${address} is no address; expected https, a host, and the path of a file.`);
  }
  const fragment = url.hash.slice(1);
  url.hash = '';
  if (fragment === '') return { url, sha256: undefined };
  const match = /^sha256=([0-9a-f]{64})$/i.exec(fragment);
  if (match === null)
    throw new UserError(
      'usage',
      `${address}: what follows # is expected to be sha256= and 64 hexadecimal digits.`,
    );
  return { url, sha256: match[1].toLowerCase() };
}

function checkProtocol(url: URL, { allowHttp }: FetchOptions): void {
  if (url.protocol === 'https:') return;
  const mayBePlain = allowHttp ?? process.env.ESVIT_ALLOW_HTTP === '1';
  if (url.protocol === 'http:' && mayBePlain) return;
  throw new UserError(
    'usage',
    url.protocol === 'http:'
      ? `${url.href} is not encrypted, so anybody on the way could exchange the file. Use https, or set ESVIT_ALLOW_HTTP=1.`
      : `${url.href}: weights come from https addresses or files, not ${url.protocol}//.`,
  );
}

async function checkDigest(path: string, url: URL, expected: string | undefined): Promise<void> {
  if (expected === undefined) return;
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(path)) digest.update(chunk as Buffer);
  const found = digest.digest('hex');
  if (found === expected) return;
  rmSync(path, { force: true });
  throw new UserError(
    'checkpoint',
    `the file from ${url.href} has the SHA-256 ${found}, expected ${expected}. It was removed; check the address and the sum.`,
  );
}

/** An attempt broke in a way that another one may mend. */
class Broken extends Error {}

/** One file on its way into the cache. */
class Transfer {
  readonly part: string;
  private readonly note: string;
  private readonly lock: string;
  private readonly isShared: boolean;
  private readonly attempts: number;
  private readonly pause: number;
  private readonly silence: number;
  /** what the server says of its file: another version must not be glued to what is there */
  private validator: string | undefined;

  constructor(
    private readonly url: URL,
    private readonly target: string,
    private readonly options: FetchOptions,
  ) {
    this.attempts = options.attempts ?? 6;
    this.pause = options.pause ?? 500;
    this.silence = options.silence ?? 60_000;
    this.lock = `${target}.lock`;
    this.isShared = this.claim();
    // Two processes never write into one file: the later one fetches for itself.
    this.part = this.isShared
      ? `${target}.part`
      : `${target}.${process.pid}.${randomUUID().slice(0, 8)}.part`;
    this.note = `${this.part}.json`;
    this.validator = this.isShared ? this.readNote() : undefined;
  }

  async run(): Promise<void> {
    let failures = 0;
    for (;;) {
      const before = this.size;
      try {
        await this.attempt();
        return;
      } catch (error) {
        if (!(error instanceof Broken)) throw error;
        failures = this.size > before ? 1 : failures + 1;
        if (failures >= this.attempts)
          throw new UserError(
            'checkpoint',
            `cannot fetch ${this.url.href}: ${error.message}. ${this.size > 0 ? `${this.size} bytes are kept; the same command goes on from there.` : 'Check the address and the connection.'}`,
          );
        this.options.onNote?.(
          `${this.url.href}: ${error.message} after ${this.size} bytes; trying again from there.`,
        );
        await new Promise((resolve) => setTimeout(resolve, this.pause * 2 ** (failures - 1)));
      }
    }
  }

  finish(): void {
    renameDurably(this.part, this.target);
    rmSync(this.note, { force: true });
  }

  close(): void {
    if (this.isShared) rmSync(this.lock, { force: true });
    else for (const path of [this.part, this.note]) rmSync(path, { force: true });
  }

  private get size(): number {
    return existsSync(this.part) ? statSync(this.part).size : 0;
  }

  private async attempt(): Promise<void> {
    const start = this.validator === undefined ? 0 : this.size;
    const controller = new AbortController();
    let timer = setTimeout(() => controller.abort(), this.silence);
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(), this.silence);
    };
    try {
      const response = await this.request(start, controller.signal);
      alive();
      await this.receive(response, start, alive);
    } catch (error) {
      if (error instanceof Broken || error instanceof UserError || diskError('', error) !== error)
        throw error;
      const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
      throw new Broken(
        controller.signal.aborted
          ? `nothing came for ${this.silence / 1000} s`
          : `the connection broke (${messageOf(cause)})`,
      );
    } finally {
      clearTimeout(timer);
      controller.abort(); // lets go of what has not been read
    }
  }

  /** Follows redirects by hand, so that none leads to an address that is not encrypted. */
  private async request(start: number, signal: AbortSignal): Promise<Response> {
    let { url } = this;
    for (let hop = 0; hop < REDIRECTS; hop++) {
      const headers: Record<string, string> = { 'accept-encoding': 'identity' };
      if (start > 0) {
        headers.range = `bytes=${start}-`;
        headers['if-range'] = this.validator as string;
      }
      const response = await fetch(url, { headers, signal, redirect: 'manual' });
      const location = response.headers.get('location');
      if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return response;
      await response.body?.cancel();
      url = new URL(location, url);
      checkProtocol(url, this.options);
    }
    throw new UserError('checkpoint', `${this.url.href} leads from one address to the next without an end.`);
  }

  private async receive(response: Response, start: number, alive: () => void): Promise<void> {
    const { status, headers } = response;
    if (status === 416) {
      rmSync(this.part, { force: true });
      throw new Broken('the file on the server is another one now');
    }
    if (status === 429 || status >= 500) throw new Broken(`the server answers ${status}`);
    if (status !== 200 && status !== 206)
      throw new UserError(
        'checkpoint',
        `${this.url.href}: the server answers ${status}${status === 404 ? ', no such file' : ''}. Check the address.`,
      );
    const from = status === 206 ? rangeStart(headers.get('content-range')) : 0;
    if (status === 206 && from !== start) throw new Broken('the server sends another part than asked for');
    const length = headers.get('content-length');
    const total = length === null ? undefined : from + Number(length);
    // A weak validator does not promise the same bytes.
    const tag = headers.get('etag');
    this.validator =
      (tag !== null && !tag.startsWith('W/') ? tag : headers.get('last-modified')) ?? undefined;
    if (headers.get('accept-ranges') === 'none') this.validator = undefined;
    this.writeNote();
    const descriptor = openSync(this.part, from > 0 ? 'a' : 'w');
    try {
      let received = from;
      for await (const chunk of response.body ?? []) {
        alive();
        const bytes = chunk as Uint8Array;
        for (let offset = 0; offset < bytes.byteLength; ) offset += writeSync(descriptor, bytes, offset);
        received += bytes.byteLength;
      }
      if (total !== undefined && received !== total)
        throw new Broken(`the connection ended after ${received} of ${total} bytes`);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }

  private claim(): boolean {
    for (const isLast of [false, true]) {
      try {
        writeFileSync(this.lock, String(process.pid), { flag: 'wx' });
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        if (isLast || isAlive(Number(readFileSync(this.lock, 'utf8')))) return false;
        rmSync(this.lock, { force: true });
      }
    }
    return false;
  }

  private readNote(): string | undefined {
    try {
      const { validator } = JSON.parse(readFileSync(this.note, 'utf8')) as { validator?: unknown };
      return typeof validator === 'string' ? validator : undefined;
    } catch {
      return undefined;
    }
  }

  private writeNote(): void {
    writeFileSync(this.note, JSON.stringify({ address: this.url.href, validator: this.validator }));
  }
}

function rangeStart(header: string | null): number {
  return Number(/^bytes (\d+)-/.exec(header ?? '')?.[1] ?? Number.NaN);
}

function isAlive(pid: number): boolean {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
