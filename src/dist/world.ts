/** The processes of one run, once they have found each other. */

import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, UserError } from '../errors.js';
import { torchInfo } from '../torch/index.js';
import { ownAddress } from './address.js';
import { backendFor } from './backend.js';
import { type BackendName, collectives } from './binding.js';
import { type Collectives, ProcessGroup } from './collectives.js';
import type { Placement } from './environment.js';
import { type Failure, findCulprit, isPeerFailure, LOST, RunFailure, readBeat } from './failure.js';
import { Store } from './store.js';

export interface JoinOptions {
  /** how long a rank waits for the others, at the beginning and in every collective */
  timeoutSeconds: number;
  device: 'cpu' | 'cuda';
}

const BEAT_MS = 1000;
/** A living process is heard within this time, also on a busy machine. */
const SILENCE_MS = 6 * BEAT_MS;
/** After a failure all have this long to end by themselves. */
const GRACE_MS = 30_000;
/** A store that does not answer in this time is out of reach. */
const ANSWER_MS = 10_000;

export class World {
  private step = -1;

  private constructor(
    readonly placement: Placement,
    readonly store: Store,
    /** before all keys of this start of the run */
    private readonly prefix: string,
    private readonly host: string,
    /** of all ranks */
    readonly hosts: readonly string[],
    /** for everything that the main thread does */
    readonly collectives: Collectives,
    /** for gradients, which travel while the main thread may use the other */
    readonly gradients: Collectives,
    readonly backend: BackendName,
  ) {}

  /** Meets the other ranks. Throws `UserError('environment')` naming who did not come. */
  static async join(placement: Placement, options: JoinOptions): Promise<World> {
    const { rank, worldSize, launcher, restart } = placement;
    const backend = backendFor(options.device, torchInfo(), placement);
    const native = collectives();
    if (launcher !== undefined) native.dieWithParent(launcher);
    // Destructors of groups wait for peers that may be gone; nothing of this process needs them.
    process.once('exit', (code) => native.exitNow(code));
    const timeoutMs = options.timeoutSeconds * 1000;
    const store = await openStore(placement, timeoutMs);
    const prefix = `run${restart}/`;
    const host = hostname();
    await register(store, prefix, placement, host);
    native.watchStart(store.host, store.port, prefix, String(rank), BEAT_MS, GRACE_MS);
    native.watchSay(-1, 'starting');
    const hosts = await meet(store, prefix, worldSize, timeoutMs);
    const isOneMachine = placement.localWorldSize === worldSize;
    const address = await ownAddress(placement.masterAddr, isOneMachine);
    if (options.device === 'cuda') native.useCuda(placement.localRank % Math.max(1, torchInfo().cudaDevices));
    const open = async (name: string) =>
      new ProcessGroup(
        await native.groupOpen(store.id, prefix + name, rank, worldSize, backend, timeoutMs, address),
        rank,
        worldSize,
        ...(backend === 'nccl' ? ['cuda'] : []),
      );
    try {
      const main = await open('main');
      // Two communicators of NCCL at once may wait for each other; Gloo's groups are independent.
      const gradients = backend === 'nccl' ? main : await open('gradients');
      return new World(placement, store, prefix, host, hosts, main, gradients, backend);
    } catch (error) {
      throw new UserError(
        'environment',
        `rank ${rank} on ${host} (${address}) could not connect to the other ranks: ${messageOf(error)}. Are all ports ` +
          'open between the machines, and is it the right network? ESVIT_INTERFACE names another interface.',
        { cause: error },
      );
    }
  }

  get rank(): number {
    return this.placement.rank;
  }

  get worldSize(): number {
    return this.placement.worldSize;
  }

  /** Says what this rank is at: `steps` are done. The others read it if this one should fail to come. */
  say(steps: number, state: string): void {
    this.step = steps;
    collectives().watchSay(steps, state);
  }

  /**
   * Finds out whose fault `error` is, tells all, and gives it in words: the same on every rank, since the first
   * report counts.
   */
  async fail(error: unknown): Promise<RunFailure> {
    const { store, prefix, host, rank } = this;
    const own: Failure = {
      rank,
      host,
      step: this.step,
      reason: messageOf(error),
      ...(error instanceof UserError && { exitCode: error.exitCode }),
    };
    const find = async (): Promise<Failure> => {
      const report = isPeerFailure(error) ? await this.culprit(own) : own;
      return JSON.parse(await store.claim(`${prefix}failed`, JSON.stringify(report))) as Failure;
    };
    const unreachable: Failure = {
      ...own,
      reason: `the store of the run at ${store.host}:${store.port} does not answer: rank 0's machine or the network is gone`,
    };
    const failure = await Promise.race([
      find().catch(() => unreachable),
      sleep(SILENCE_MS + 2 * ANSWER_MS, unreachable, { ref: false }),
    ]);
    return new RunFailure(failure, { cause: error });
  }

  /** Who is to blame for a collective that failed here. */
  private async culprit(own: Failure): Promise<Failure> {
    const { store, prefix, worldSize, hosts } = this;
    collectives().watchSay(this.step, LOST);
    const look = () =>
      Promise.all(
        Array.from({ length: worldSize }, async (_, rank) =>
          readBeat(await store.get(`${prefix}beat/${rank}`)),
        ),
      );
    const before = await look();
    // A rank that failed by itself, or whose launcher saw it die, is reported at once.
    const reported = await store.wait(`${prefix}failed`, SILENCE_MS);
    if (reported !== undefined) return JSON.parse(reported) as Failure;
    return findCulprit(before, await look(), hosts) ?? own;
  }

  /** Ends in good order: the rank that keeps the store goes last. */
  async leave(): Promise<void> {
    const { store, prefix, worldSize, placement } = this;
    const native = collectives();
    this.say(this.step, 'leaving');
    try {
      const gone = await store.add(`${prefix}left`, 1);
      if (gone === worldSize) await store.set(`${prefix}empty`, '');
      if (placement.rank === 0 && !placement.storeIsThere) await store.wait(`${prefix}empty`, GRACE_MS);
    } catch {
      // the others have ended already, and the store with them
    }
    native.watchStop();
  }
}

async function openStore(placement: Placement, timeoutMs: number): Promise<Store> {
  const { rank, masterAddr, masterPort, storeIsThere } = placement;
  const keeps = rank === 0 && !storeIsThere;
  try {
    // Rank 0 reaches its own store by the shortest way: its public name may not lead back to it.
    return keeps
      ? await Store.serve('127.0.0.1', masterPort, timeoutMs)
      : await Store.connect(masterAddr, masterPort, timeoutMs);
  } catch (error) {
    throw new UserError(
      'environment',
      keeps
        ? `rank 0 cannot keep the store of the run at port ${masterPort}: ${messageOf(error)}. Choose another MASTER_PORT.`
        : `rank ${rank} cannot reach ${masterAddr}:${masterPort} within ${timeoutMs / 1000} s. Is rank 0 running there, are ` +
            'MASTER_ADDR and MASTER_PORT right, and is the port open?',
      { cause: error },
    );
  }
}

/** Takes the place of this rank; two processes of one rank are a mistake that would otherwise hang. */
async function register(store: Store, prefix: string, { rank }: Placement, host: string): Promise<void> {
  const own = JSON.stringify({ host, pid: process.pid });
  const taken = JSON.parse(await store.claim(`${prefix}rank/${rank}`, own)) as { host: string; pid: number };
  if (JSON.stringify(taken) === own) return;
  throw new UserError(
    'environment',
    `two processes say that they are rank ${rank}: ${taken.pid} on ${taken.host} and ${process.pid} on ${host}. Every process needs a RANK of its own.`,
  );
}

/** Waits for all ranks; their hosts. */
async function meet(store: Store, prefix: string, worldSize: number, timeoutMs: number): Promise<string[]> {
  const end = performance.now() + timeoutMs;
  const hosts: (string | undefined)[] = new Array(worldSize).fill(undefined);
  for (let rank = 0; rank < worldSize; rank++) {
    const text = await come(store, prefix, rank, end);
    hosts[rank] = text === undefined ? undefined : (JSON.parse(text) as { host: string }).host;
  }
  const missing = hosts.flatMap((host, rank) => (host === undefined ? [rank] : []));
  if (missing.length === 0) return hosts as string[];
  const some = missing.slice(0, 8).join(', ');
  throw new UserError(
    'environment',
    `only ${worldSize - missing.length} of ${worldSize} ranks came within ${timeoutMs / 1000} s; missing: ${missing.length > 1 ? 'ranks' : 'rank'} ${some}${missing.length > 8 ? ', …' : ''}. ` +
      'Were they started, and with the same MASTER_ADDR and WORLD_SIZE?',
  );
}

/** What a rank said when it came, undefined where it has not by `end`. Throws where the run has failed: it never will. */
async function come(store: Store, prefix: string, rank: number, end: number): Promise<string | undefined> {
  for (;;) {
    const left = Math.max(0, end - performance.now());
    const text = await store.wait(`${prefix}rank/${rank}`, Math.min(BEAT_MS, left));
    if (text !== undefined) return text;
    const failure = await store.get(`${prefix}failed`);
    if (failure !== undefined) throw new RunFailure(JSON.parse(failure) as Failure);
    if (left === 0) return undefined;
  }
}
