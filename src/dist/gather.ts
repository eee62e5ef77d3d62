/** Plain values and rows of different numbers, passed between ranks. */

import { cat, noGrad, scope, type Tensor, tensor, zeros } from '../torch/index.js';
import type { Collectives } from './collectives.js';

/** What every rank gave, by rank. Values are anything that JSON holds. */
export function gatherValues<T>(collectives: Collectives, value: T): T[] {
  if (collectives.worldSize === 1) return [value];
  return noGrad(() =>
    scope(() => {
      const bytes = new TextEncoder().encode(JSON.stringify(value ?? null));
      const lengths = collectives.allGather(tensor(Int32Array.of(bytes.length))).toArray();
      const padded = new Uint8Array(Math.max(...Array.from(lengths, Number)));
      padded.set(bytes);
      const all = collectives.allGather(tensor(padded)).bytes();
      return Array.from({ length: collectives.worldSize }, (_, rank) => {
        const start = rank * padded.length;
        return JSON.parse(new TextDecoder().decode(all.subarray(start, start + Number(lengths[rank])))) as T;
      });
    }),
  );
}

/** Rank 0's value, on all ranks; only rank 0 computes it. */
export function sharedValue<T>(collectives: Collectives, compute: () => T): T {
  if (collectives.worldSize === 1) return compute();
  return noGrad(() =>
    scope(() => {
      const isFirst = collectives.rank === 0;
      const bytes = isFirst ? new TextEncoder().encode(JSON.stringify(compute() ?? null)) : new Uint8Array(0);
      const length = tensor(Int32Array.of(bytes.length));
      collectives.broadcast(length);
      const content = tensor(isFirst ? bytes : new Uint8Array(length.item()));
      collectives.broadcast(content);
      return JSON.parse(new TextDecoder().decode(content.bytes())) as T;
    }),
  );
}

/** Sums over all ranks, exact for whole numbers up to 2^53. */
export function sumValues(collectives: Collectives, values: ArrayLike<number>): number[] {
  if (collectives.worldSize === 1) return Array.from(values);
  return noGrad(() =>
    scope(() => {
      const all = tensor(Float64Array.from(values));
      collectives.allReduceSum(all);
      return Array.from(all.toArray(), Number);
    }),
  );
}

/** x: [n, ...], n different on each rank -> [sum of n, ...], rank by rank; the padding on the way is taken off. */
export function gatherRows(collectives: Collectives, x: Tensor): Tensor {
  if (collectives.worldSize === 1) return x;
  return noGrad(() =>
    scope(() => {
      const [rows, ...rest] = x.shape;
      const counts = Array.from(collectives.allGather(tensor(Int32Array.of(rows))).toArray(), Number);
      const most = Math.max(...counts);
      // A copy in any case: tensors of inference mode are not for other threads.
      const padded =
        rows === most
          ? x.clone({ memoryFormat: 'contiguous' })
          : cat([x, zeros([most - rows, ...rest], { dtype: x.dtype, device: x.device })]);
      const all = collectives.allGather(padded); // [world, most, ...]
      return cat(counts.map((count, rank) => all.select(0, rank).narrow(0, 0, count)));
    }),
  );
}
