/** The most similar rows of a bank, exactly, without holding all similarities or even the whole bank. */

import { arange, cat, empty, inferenceMode, scope, type Tensor } from '../torch/index.js';

/** Rows of features that may lie on a disk. */
export interface FeatureRows {
  readonly count: number;
  readonly width: number;
  /** float32 [count, width], rows from `start` on; valid until it is called again */
  rows(start: number, count: number): Tensor;
}

/** For each query its nearest rows, the most similar first. */
export interface Neighbours {
  /** float32 [Q, k] */
  similarity: Tensor;
  /** int32 [Q, k] numbers of rows */
  index: Tensor;
}

/**
 * Rows of the bank, and queries, whose similarities are held at a time: 25 MB of 768 dimensions, and 8 MB. A GPU has
 * more memory, and takes longer to be told of a small piece than to work on it.
 */
const BANK_ROWS = 8192;
export const QUERY_ROWS = 256;
/** So many times more queries on a GPU. */
const GPU_SHARE = 16;

/** A table in memory as rows. */
export function tensorRows(table: Tensor): FeatureRows {
  const [count, width] = table.sizes(2);
  return {
    count,
    width,
    rows: (start, rows) => scope(() => table.narrow(0, start, rows).to({ dtype: 'float32' })),
  };
}

/**
 * The `k` rows of `bank` with the largest inner product with each query ([Q, D]). Memory is that of the queries, one
 * block of the bank, one block of similarities and the result.
 */
export function nearestRows(bank: FeatureRows, queries: FeatureRows, k: number): Neighbours {
  return inferenceMode(() =>
    scope(() => {
      const most = Math.min(k, bank.count);
      const place = scope(() => queries.rows(0, Math.min(1, queries.count)).device);
      const step = place === 'cpu' ? QUERY_ROWS : GPU_SHARE * QUERY_ROWS;
      const chunks = Array.from({ length: Math.ceil(queries.count / step) }, (_, i) => {
        const start = i * step;
        const rows = Math.min(step, queries.count - start);
        // A copy: what `rows` gives is valid until it is called again.
        return { start, rows, values: scope(() => queries.rows(start, rows).clone()) };
      });
      const { device } = chunks[0].values;
      const similarity = empty([queries.count, most], { device });
      const index = empty([queries.count, most], { dtype: 'int32', device });
      for (let first = 0; first < bank.count; first += BANK_ROWS)
        scope(() => {
          const block = bank.rows(first, Math.min(BANK_ROWS, bank.count - first));
          const columns = block.t();
          const known = Math.min(most, first); // so many are found already
          const wanted = Math.min(most, first + block.shape[0]);
          for (const { start, rows, values } of chunks)
            scope(() => {
              const own = {
                similarity: similarity.narrow(0, start, rows),
                index: index.narrow(0, start, rows),
              };
              const found = largest(values.matmul(columns), Math.min(most, block.shape[0]));
              found.index.add_(first);
              const best = known === 0 ? found : merged(leftmost(own, known), found, wanted);
              const place = leftmost(own, wanted);
              place.similarity.copy_(best.similarity);
              place.index.copy_(best.index);
            });
        });
      return { similarity, index };
    }),
  );
}

function leftmost({ similarity, index }: Neighbours, count: number): Neighbours {
  return { similarity: similarity.narrow(1, 0, count), index: index.narrow(1, 0, count) };
}

/** Of two lists of each row the `k` largest. */
function merged(a: Neighbours, b: Neighbours, k: number): Neighbours {
  const similarity = cat([a.similarity, b.similarity], 1);
  const index = cat([a.index, b.index], 1);
  const [best, places] = similarity.topk(Math.min(k, similarity.shape[1]), 1, true, true);
  return { similarity: best, index: index.gather(1, places) };
}

/**
 * The `k` largest of each row of `values` [n, m]. Sorting out the largest of many is slow, finding the maximum of a
 * few is not: the k largest lie in the k groups with the largest maxima, so only those groups are looked through.
 * Groups are columns m/g apart, so that maxima are taken over whole vectors.
 */
function largest(values: Tensor, k: number): Neighbours {
  const [rows, columns] = values.sizes(2);
  const size = 2 ** Math.round(Math.log2(Math.sqrt(columns / k)));
  const groups = Math.floor(columns / size);
  if (size < 4 || groups <= k) {
    const [similarity, places] = values.topk(k, 1, true, true);
    return { similarity, index: places.to({ dtype: 'int32' }) };
  }
  const grouped = values.narrow(1, 0, groups * size).unflatten(1, [size, groups]); // [n, g, G]
  const [, best] = grouped.amax([1]).topk(k, 1, true, false); // [n, k]
  const inside = grouped.gather(2, best.unsqueeze(1).expand([rows, size, k])).flatten(1); // [n, g * k]
  const firsts = arange(0, size * groups, groups).to({ dtype: 'int64', device: values.device });
  const places = best
    .unsqueeze(1)
    .add(firsts.view([1, size, 1]))
    .flatten(1); // the columns of `inside`
  const left = columns - groups * size; // columns that fill no group are always looked through
  if (left === 0) return among(inside, places, k);
  const rest = arange(groups * size, columns, 1).to({ dtype: 'int64', device: values.device });
  return among(
    cat([inside, values.narrow(1, groups * size, left)], 1),
    cat([places, rest.unsqueeze(0).expand([rows, left])], 1),
    k,
  );
}

/** The `k` largest candidates of each row, with their own numbers of columns. */
function among(candidates: Tensor, columns: Tensor, k: number): Neighbours {
  const [similarity, best] = candidates.topk(k, 1, true, true);
  return { similarity, index: columns.gather(1, best).to({ dtype: 'int32' }) };
}
