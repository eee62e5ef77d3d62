/** The board on which the processes of a run pin notes for each other: c10d's TCPStore. */

import { setTimeout as sleep } from 'node:timers/promises';
import { collectives, type StoreId } from './binding.js';

const POLL_MS = 50;

/** Notes by name; all calls go through a thread, so that an unreachable store blocks nobody's signals. */
export class Store {
  private constructor(
    /** in the addon */
    readonly id: StoreId,
    readonly host: string,
    readonly port: number,
  ) {}

  /** Opens the board at `port` of this machine; 0 takes a free one. */
  static async serve(host: string, port: number, timeoutMs: number): Promise<Store> {
    const [id, own] = await collectives().storeOpen(host, port, true, timeoutMs);
    return new Store(id, host, own);
  }

  /** Connects to the board of another process, which may open it a little later. */
  static async connect(host: string, port: number, timeoutMs: number): Promise<Store> {
    const [id] = await collectives().storeOpen(host, port, false, timeoutMs);
    return new Store(id, host, port);
  }

  async set(key: string, value: string): Promise<void> {
    await collectives().storeSet(this.id, key, value);
  }

  /** undefined where nobody has set it */
  async get(key: string): Promise<string | undefined> {
    return (await collectives().storeTry(this.id, key)) ?? undefined;
  }

  /** Sets what is not set; what stands there afterwards. */
  async claim(key: string, value: string): Promise<string> {
    return collectives().storeClaim(this.id, key, value);
  }

  async add(key: string, amount: number): Promise<number> {
    return collectives().storeAdd(this.id, key, amount);
  }

  /** Waits until somebody sets `key`; undefined after `timeoutMs`. */
  async wait(key: string, timeoutMs: number): Promise<string | undefined> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const value = await this.get(key);
      if (value !== undefined) return value;
      if (performance.now() > end) return undefined;
      await sleep(POLL_MS);
    }
  }
}
