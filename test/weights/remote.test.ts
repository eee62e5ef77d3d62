/** Fetching weights from a server that breaks connections, changes its mind, or lies. */

import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { fetchWeights } from '../../src/weights/index.js';

const root = mkdtempSync(join(tmpdir(), 'esvit-remote-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const SIZE = 300_000;
const contentOf = (seed: number) =>
  Buffer.from(Uint8Array.from({ length: SIZE }, (_, i) => (i * seed) % 251));
const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

type Behaviour = (request: IncomingMessage, response: ServerResponse) => void;

let server: Server;
let base = '';
let behave: Behaviour = () => {};
/** the Range header of every request */
let asked: (string | undefined)[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    asked.push(request.headers.range);
    behave(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

let cache = '';
const notes: string[] = [];
beforeEach(() => {
  cache = mkdtempSync(join(root, 'cache-'));
});
afterEach(() => {
  asked = [];
  notes.length = 0;
});

const get = (path: string, more: object = {}) =>
  fetchWeights(base + path, {
    ...{ cache, allowHttp: true, pause: 1, attempts: 3, onNote: (line: string) => notes.push(line) },
    ...more,
  });

/** Serves `content` as a file server does, and cuts the connection after `cut` bytes of each answer. */
function serving(content: Buffer, options: { etag?: string; cut?: () => number } = {}): Behaviour {
  return (request, response) => {
    const { etag, cut } = options;
    const match = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const isSame = etag !== undefined && request.headers['if-range'] === etag;
    const from = match !== null && isSame ? Number(match[1]) : 0;
    const part = content.subarray(from);
    response.writeHead(from > 0 ? 206 : 200, {
      'content-length': part.length,
      ...(etag !== undefined && { etag }),
      ...(from > 0 && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
    });
    const most = cut?.() ?? Number.POSITIVE_INFINITY;
    if (most >= part.length) response.end(part);
    else response.write(part.subarray(0, most), () => setImmediate(() => response.destroy()));
  };
}

const starts = () => asked.map((range) => Number(/\d+/.exec(range ?? '0')?.[0]));

describe('an address', () => {
  it('must be encrypted, unless plain http is allowed', async () => {
    await expect(fetchWeights(`${base}/w.pth`, { cache })).rejects.toThrow(
      /not encrypted.*ESVIT_ALLOW_HTTP=1/,
    );
    await expect(fetchWeights('ftp://127.0.0.1/w.pth', { cache, allowHttp: true })).rejects.toThrow(
      /not ftp:/,
    );
    await expect(get('/w.pth#md5=1')).rejects.toThrow(/expected to be sha256=/);
    expect(asked).toEqual([]);
  });

  it('that leads to one that is not encrypted is not followed', async () => {
    behave = (_, response) => response.writeHead(302, { location: 'ftp://127.0.0.1/w.pth' }).end();
    await expect(get('/w.pth')).rejects.toThrow(UserError);
    behave = (_, response) => response.writeHead(302, { location: '/w.pth' }).end();
    await expect(get('/w.pth')).rejects.toThrow(/without an end/);
  });
});

describe('a file', () => {
  it('is fetched once, through redirects, and stays in the cache under its name', async () => {
    const content = contentOf(7);
    behave = (request, response) =>
      request.url === '/moved.pth'
        ? response.writeHead(301, { location: '/dir/w.pth' }).end()
        : serving(content)(request, response);
    const path = await get('/moved.pth');
    expect(path.endsWith('-moved.pth')).toBe(true);
    expect(readFileSync(path).equals(content)).toBe(true);
    expect(asked).toHaveLength(2);
    expect(await get('/moved.pth')).toBe(path);
    expect(asked).toHaveLength(2);
    expect(readdirSync(cache)).toHaveLength(1);
  });

  it('is taken up where the connection broke, as often as it breaks', async () => {
    const content = contentOf(11);
    behave = serving(content, { etag: '"a"', cut: () => 40_000 });
    const path = await get('/w.pth');
    expect(readFileSync(path).equals(content)).toBe(true);
    expect(asked.length).toBeGreaterThan(7);
    const each = starts();
    for (let i = 1; i < each.length; i++) {
      expect(each[i]).toBeGreaterThan(each[i - 1]);
      expect(each[i] - each[i - 1]).toBeLessThanOrEqual(40_000);
    }
    expect(notes[0]).toMatch(/trying again from there/);
    expect(readdirSync(cache)).toHaveLength(1);
  });

  it('starts anew where the server does not say that it is the same file', async () => {
    const content = contentOf(13);
    let answers = 0;
    behave = serving(content, { cut: () => (++answers === 1 ? 40_000 : SIZE) });
    expect(readFileSync(await get('/w.pth')).equals(content)).toBe(true);
    expect(asked).toEqual([undefined, undefined]);
  });

  it('that changes half way is not glued together from two', async () => {
    const [old, fresh] = [contentOf(3), contentOf(5)];
    let answers = 0;
    behave = (request, response) =>
      ++answers === 1
        ? serving(old, { etag: '"old"', cut: () => 90_000 })(request, response)
        : serving(fresh, { etag: '"new"' })(request, response);
    expect(readFileSync(await get('/w.pth')).equals(fresh)).toBe(true);
    expect(asked[1]).toMatch(/^bytes=/);
  });

  it('that never comes whole leaves nothing but a part, and a later call goes on from it', async () => {
    const content = contentOf(17);
    let budget = 1;
    behave = serving(content, { etag: '"a"', cut: () => (budget-- > 0 ? 70_000 : 0) });
    await expect(get('/w.pth')).rejects.toThrow(
      /cannot fetch .*\d+ bytes are kept; the same command goes on/,
    );
    expect(readdirSync(cache).filter((name) => name.endsWith('.pth'))).toEqual([]);
    asked = [];
    behave = serving(content, { etag: '"a"' });
    expect(readFileSync(await get('/w.pth')).equals(content)).toBe(true);
    expect(starts()[0]).toBeGreaterThan(0);
  });

  it('is compared with its checksum, also when it was in the cache', async () => {
    const content = contentOf(19);
    behave = serving(content);
    const path = await get(`/w.pth#sha256=${digest(content)}`);
    expect(readFileSync(path).equals(content)).toBe(true);
    await expect(get(`/w.pth#sha256=${digest(contentOf(2))}`)).rejects.toThrow(
      /has the SHA-256 .*, expected/,
    );
    expect(existsSync(path)).toBe(false);
    await expect(get(`/w.pth#sha256=${digest(contentOf(2))}`)).rejects.toThrow(/It was removed/);
    expect(readdirSync(cache).filter((name) => !name.endsWith('.json'))).toEqual([]);
  });

  it('that is not there is said so at once; a server that is busy is asked again', async () => {
    behave = (_, response) => response.writeHead(404).end();
    await expect(get('/w.pth')).rejects.toThrow(/answers 404, no such file/);
    expect(asked).toHaveLength(1);
    const content = contentOf(23);
    let answers = 0;
    behave = (request, response) =>
      ++answers < 3 ? response.writeHead(503).end() : serving(content)(request, response);
    expect(readFileSync(await get('/w.pth')).equals(content)).toBe(true);
  });

  it('that stalls is not waited for without end', async () => {
    behave = (_, response) => {
      response.writeHead(200, { 'content-length': SIZE });
      response.write('only the beginning');
    };
    await expect(get('/w.pth', { silence: 50, attempts: 2 })).rejects.toThrow(/nothing came for 0.05 s/);
  });

  it('that two want at once comes to both whole', async () => {
    const content = contentOf(29);
    behave = serving(content, { etag: '"a"', cut: () => 90_000 });
    const paths = await Promise.all([get('/w.pth'), get('/w.pth')]);
    for (const path of paths) expect(readFileSync(path).equals(content)).toBe(true);
    expect(readdirSync(cache)).toHaveLength(1);
  });

  it('from a server that is not there ends in a sentence', async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const attempt = fetchWeights(`http://127.0.0.1:${port}/w.pth`, {
      ...{ cache, allowHttp: true, pause: 1, attempts: 2 },
    });
    await expect(attempt).rejects.toThrow(/cannot fetch .*the connection broke .*Check the address/);
  });
});
