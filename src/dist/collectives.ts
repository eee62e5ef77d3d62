/** What processes do together: every rank calls the same functions in the same order. */

import { messageOf } from '../errors.js';
import { type Device, noGrad, Tensor, zeros } from '../torch/index.js';
import { collectives, type GroupId, type ReduceOperation, type WorkId } from './binding.js';

/** A collective that is under way; its tensors are not to be touched before it is done. */
export interface Work {
  readonly isDone: boolean;
  /** Blocks. Throws where a rank is gone, or does not come within the group's timeout. */
  wait(): void;
  /** The same, with other work done meanwhile. */
  done(): Promise<void>;
}

/** The ranks of a run. Tensors are contiguous, and of the same shape and dtype on all ranks. */
export interface Collectives {
  readonly rank: number;
  readonly worldSize: number;
  /** Adds up `x` over all processes, in place. */
  allReduceSum(x: Tensor): void;
  /** All ranks get the values of `root`'s `x`, in place. */
  broadcast(x: Tensor, root?: number): void;
  /** x: [...] -> [world, ...] */
  allGather(x: Tensor): Tensor;
  /** x: [world, ...] -> [...], the sum over ranks of what they have for this one */
  reduceScatter(x: Tensor): Tensor;
  /** Returns when all ranks have come. */
  barrier(): void;
  /** For functions of the addon that are collectives themselves; undefined for a run of one. */
  readonly group?: GroupId;
}

/** A run of one process. */
export const alone: Collectives = {
  rank: 0,
  worldSize: 1,
  allReduceSum() {},
  broadcast() {},
  allGather: (x) => x.unsqueeze(0).clone(),
  reduceScatter: (x) => x.squeeze(0).clone(),
  barrier() {},
};

/** Another rank is gone or does not come; who it is has yet to be found out. */
export class PeerError extends Error {
  override readonly name = 'PeerError';
}

/** Runs what needs the other ranks; what it throws is theirs. */
export function withPeers<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw new PeerError(messageOf(error), { cause: error });
  }
}

class NativeWork implements Work {
  private isOver = false;

  constructor(
    private readonly id: WorkId,
    /** what is left to do once all ranks have done their part */
    private readonly after: () => void = () => {},
  ) {}

  get isDone(): boolean {
    return this.isOver || collectives().workDone(this.id);
  }

  wait(): void {
    if (this.isOver) return;
    this.isOver = true;
    withPeers(() => collectives().workWait(this.id));
    this.after();
  }

  async done(): Promise<void> {
    if (this.isOver) return;
    this.isOver = true;
    await collectives()
      .workLater(this.id)
      .catch((error: unknown) => {
        throw new PeerError(messageOf(error), { cause: error });
      });
    this.after();
  }
}

/** Of tensors without elements, which Gloo cannot divide. */
const NOTHING: Work = { isDone: true, wait() {}, async done() {} };

/** A process group of c10d. */
export class ProcessGroup implements Collectives {
  constructor(
    readonly group: GroupId,
    readonly rank: number,
    readonly worldSize: number,
    /** NCCL's ranks can only exchange what lies on their GPUs: other tensors go there and back */
    private readonly device?: Device,
  ) {}

  allReduceSum(x: Tensor): void {
    this.startAllReduce(x).wait();
  }

  broadcast(x: Tensor, root = 0): void {
    this.startBroadcast(x, root).wait();
  }

  allGather(x: Tensor): Tensor {
    const { output, work } = this.startAllGather(x);
    work.wait();
    return output;
  }

  reduceScatter(x: Tensor): Tensor {
    const { output, work } = this.startReduceScatter(x);
    work.wait();
    return output;
  }

  barrier(): void {
    this.startBarrier().wait();
  }

  startBarrier(): Work {
    return new NativeWork(collectives().barrier(this.group));
  }

  /** In place. */
  startAllReduce(x: Tensor, operation: ReduceOperation = 'sum'): Work {
    if (x.numel === 0) return NOTHING;
    return this.start([x], x, (there) => collectives().allReduce(this.group, there.handle, operation));
  }

  startBroadcast(x: Tensor, root = 0): Work {
    if (x.numel === 0) return NOTHING;
    return this.start([x], x, (there) => collectives().broadcast(this.group, there.handle, root));
  }

  startAllGather(x: Tensor): { output: Tensor; work: Work } {
    const output = zeros([this.worldSize, ...x.shape], { dtype: x.dtype, device: x.device });
    if (x.numel === 0) return { output, work: NOTHING };
    const work = this.start([output, x], output, (to, from) =>
      collectives().allGather(this.group, to.handle, from.handle),
    );
    return { output, work };
  }

  startReduceScatter(x: Tensor): { output: Tensor; work: Work } {
    if (x.shape[0] !== this.worldSize)
      throw new Error(`reduceScatter: expected ${this.worldSize} rows, received [${x.shape.join(', ')}]`);
    const output = zeros(x.shape.slice(1), { dtype: x.dtype, device: x.device });
    if (x.numel === 0) return { output, work: NOTHING };
    const work = this.start([output, x], output, (to, from) =>
      collectives().reduceScatter(this.group, to.handle, from.handle),
    );
    return { output, work };
  }

  /** Starts a collective of `tensors`, where they are or where the ranks can exchange them; `written` gets its values. */
  private start(tensors: readonly Tensor[], written: Tensor, begin: (...there: Tensor[]) => WorkId): Work {
    const { device } = this;
    if (device === undefined || tensors.every((x) => x.device !== 'cpu'))
      return new NativeWork(begin(...tensors));
    const there = noGrad(() => tensors.map((x) => x.to({ device, copy: true }).keep()));
    return new NativeWork(begin(...there), () => {
      noGrad(() => written.copy_(there[0]));
      for (const x of there) x.dispose();
    });
  }
}

/** Batch normalisation with the statistics of all ranks; x: [B, C, ...] -> the same shape. */
export function syncBatchNorm(
  group: GroupId,
  x: Tensor,
  affine: { weight: Tensor; bias: Tensor },
  running: { mean: Tensor; variance: Tensor },
  { momentum, eps }: { momentum: number; eps: number },
): Tensor {
  const handle = withPeers(() =>
    collectives().syncBatchNorm(
      group,
      x.handle,
      affine.weight.handle,
      affine.bias.handle,
      running.mean.handle,
      running.variance.handle,
      momentum,
      eps,
    ),
  );
  return new Tensor(handle);
}
