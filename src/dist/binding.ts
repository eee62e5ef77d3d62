/** The addon's collectives, as TypeScript sees them. */

import { createRequire } from 'node:module';
import { UserError } from '../errors.js';
import { addonPath, type Handle, torchInfo } from '../torch/index.js';
import { NO_COLLECTIVES } from './backend.js';

/** Numbers that name a store, a group, a running collective, a reducer in the addon. */
export type StoreId = number;
export type GroupId = number;
export type WorkId = number;
export type ReducerId = number;

export type BackendName = 'gloo' | 'nccl';
export type ReduceOperation = 'sum' | 'max' | 'min';

export interface NativeCollectives {
  storeOpen(host: string, port: number, isServer: boolean, timeoutMs: number): Promise<[StoreId, number]>;
  storeSet(store: StoreId, key: string, value: string): Promise<void>;
  storeTry(store: StoreId, key: string): Promise<string | null>;
  storeClaim(store: StoreId, key: string, value: string): Promise<string>;
  storeAdd(store: StoreId, key: string, amount: number): Promise<number>;
  groupOpen(
    store: StoreId,
    prefix: string,
    rank: number,
    size: number,
    backend: BackendName,
    timeoutMs: number,
    address: string,
  ): Promise<GroupId>;
  allReduce(group: GroupId, x: Handle, operation: ReduceOperation): WorkId;
  broadcast(group: GroupId, x: Handle, root: number): WorkId;
  allGather(group: GroupId, output: Handle, input: Handle): WorkId;
  reduceScatter(group: GroupId, output: Handle, input: Handle): WorkId;
  barrier(group: GroupId): WorkId;
  workWait(work: WorkId): void;
  workDone(work: WorkId): boolean;
  workLater(work: WorkId): Promise<void>;
  reducerOpen(
    group: GroupId,
    parameters: readonly Handle[],
    firstBytes: number,
    bytes: number,
    half: boolean,
  ): ReducerId;
  reducerArm(reducer: ReducerId): void;
  reducerFinish(reducer: ReducerId): [bytes: number, busy: number, waited: number, buckets: number];
  reducerClose(reducer: ReducerId): void;
  syncBatchNorm(
    group: GroupId,
    x: Handle,
    weight: Handle,
    bias: Handle,
    runningMean: Handle,
    runningVar: Handle,
    momentum: number,
    eps: number,
  ): Handle;
  watchStart(
    host: string,
    port: number,
    prefix: string,
    name: string,
    intervalMs: number,
    graceMs: number,
  ): void;
  watchSay(step: number, state: string): void;
  watchStop(): void;
  dieWithParent(parent: number): void;
  exitNow(code: number): void;
  /** The GPU that 'cuda' means in this process from now on. */
  useCuda(index: number): void;
}

const found = (createRequire(import.meta.url)(addonPath) as { collectives?: NativeCollectives }).collectives;

/** Whether this libtorch, as the addon was built with it, can let processes with such a device talk to each other. */
export function hasCollectives(device: 'cpu' | 'cuda' = 'cpu'): boolean {
  const { gloo, nccl } = torchInfo();
  return found !== undefined && (gloo || (device === 'cuda' && nccl));
}

export function collectives(): NativeCollectives {
  if (found === undefined) throw new UserError('environment', NO_COLLECTIVES);
  return found;
}
