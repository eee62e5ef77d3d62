/** An order in which neighbouring pictures come from the same shard, for data larger than the memory of a machine. */

import { UserError } from '../errors.js';
import { counting, type Ranks, type Shuffle } from './sampler.js';

export interface ChunkRanks extends Ranks {
  /** ranks of a machine; each machine reads shards of its own */
  ranksPerNode: number;
}

/** Pictures that a chunk gives in an epoch: as many as the smallest has, so that all ranks come out even. */
function perChunk(chunks: readonly number[], ranksPerNode: number): number {
  const smallest = chunks.reduce((a, b) => Math.min(a, b));
  const taken = smallest - (smallest % ranksPerNode);
  if (taken === 0)
    throw new UserError(
      'data',
      `--sampler chunk takes as many pictures of each shard as the smallest has, and that one has ${smallest} ` +
        `for ${ranksPerNode} processes of a machine. Use --sampler distributed, or shards of like size.`,
    );
  return taken;
}

/** Pictures that a rank sees in an epoch. */
export function chunkShare(chunks: readonly number[], { world, ranksPerNode }: ChunkRanks): number {
  if (world % ranksPerNode !== 0)
    throw new UserError(
      'environment',
      `--sampler chunk needs equally many processes on each machine, but ${world} processes are not a multiple of ${ranksPerNode}.`,
    );
  return Math.ceil((chunks.length * perChunk(chunks, ranksPerNode)) / world);
}

/**
 * Chunk after chunk, shuffled inside; a machine gets a run of chunks, and its ranks take turns in them. In odd epochs
 * each machine goes through its chunks backwards, so that it begins with those that it read last and still holds.
 * Every chunk gives the same number of pictures, in each epoch others. Where the ranks do not come out even, the order
 * is filled up from its own beginning.
 *
 * chunks: pictures of each shard, in the order of the data set
 */
export function chunkOrder(
  chunks: readonly number[],
  epoch: number,
  ranks: ChunkRanks,
  shuffle: Shuffle,
): Uint32Array {
  const { rank, world, ranksPerNode } = ranks;
  const share = chunkShare(chunks, ranks);
  const taken = perChunk(chunks, ranksPerNode);
  const begins: number[] = [];
  chunks.reduce((begin, size) => {
    begins.push(begin);
    return begin + size;
  }, 0);
  const all = new Uint32Array(chunks.length * taken);
  chunksInTurn(chunks.length, epoch, world / ranksPerNode).forEach((chunk, i) => {
    const items = counting(chunks[chunk], begins[chunk]);
    shuffle(items);
    all.set(items.subarray(0, taken), i * taken);
  });
  const node = Math.floor(rank / ranksPerNode);
  const first = node * ranksPerNode * share + (rank % ranksPerNode);
  return Uint32Array.from({ length: share }, (_, i) => all[(first + i * ranksPerNode) % all.length]);
}

function chunksInTurn(count: number, epoch: number, nodes: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  const ofNode = Math.floor(count / nodes);
  if (epoch % 2 === 0 || ofNode === 0) return order;
  const turned: number[] = [];
  for (let node = 0; node < nodes; node++)
    turned.push(...order.slice(node * ofNode, (node + 1) * ofNode).reverse());
  return [...turned, ...order.slice(nodes * ofNode)];
}
