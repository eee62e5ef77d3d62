/**
 * What do chunks gain over gathering the surroundings of each token? One attention layer of ViL-T as it meets global and
 * local crops, forward and backward: `npx tsx bench/vil-attention.ts [--rounds N]`.
 */

import { cpus } from 'node:os';
import { LongformerAttention } from '../src/models/index.js';
import { manualSeed, randn, scope, setThreads, type Tensor, tensor } from '../src/torch/index.js';
import { median, table } from './peer.js';

const CHUNK = 7;

interface Layer {
  name: string;
  dim: number;
  numHeads: number;
  side: number;
  batch: number;
}

const LAYERS: readonly Layer[] = [
  { name: 'stage 1, a crop of 224', dim: 96, numHeads: 3, side: 56, batch: 1 },
  { name: 'stage 2, a crop of 224', dim: 192, numHeads: 6, side: 28, batch: 1 },
  { name: 'stage 1, 4 crops of 96', dim: 96, numHeads: 3, side: 24, batch: 4 },
  { name: 'stage 2, 4 crops of 96', dim: 192, numHeads: 6, side: 12, batch: 4 },
];

const options = ({ dim, numHeads, side }: Layer, mode: number) =>
  ({
    dim,
    numHeads,
    globals: 0,
    grid: [side, side] as const,
    relative: false,
    features: CHUNK,
    pooled: false,
    qkvBias: true,
    dropRate: 0,
    shareWeights: true,
    shareKv: false,
    onlyGlobal: false,
    exact: 0,
    mode,
    poolMethod: null,
  }) as const;

/** For each token the tokens of the 3 x 3 chunks around it, in its own order, and a mask for those outside. */
function surroundings(side: number): { index: Tensor; mask: Tensor; keys: number } {
  const keys = (3 * CHUNK) ** 2;
  const index = new BigInt64Array(side * side * keys);
  const mask = new Float32Array(side * side * keys);
  let at = 0;
  for (let token = 0; token < side * side; token++)
    for (let key = 0; key < keys; key++, at++) {
      const start = (place: number) => (Math.floor(place / CHUNK) - 1) * CHUNK;
      const y = start(Math.floor(token / side)) + Math.floor(key / (3 * CHUNK));
      const x = start(token % side) + (key % (3 * CHUNK));
      if (y >= 0 && y < side && x >= 0 && x < side) index[at] = BigInt(y * side + x);
      else mask[at] = Number.NEGATIVE_INFINITY;
    }
  return { index: tensor(index), mask: tensor(mask, { shape: [side * side, keys] }), keys };
}

/** The same attention with keys and values gathered for each token. */
function gathered(
  attention: LongformerAttention,
  { dim, numHeads }: Layer,
  x: Tensor,
  around: ReturnType<typeof surroundings>,
): Tensor {
  return scope(() => {
    const [batch, length] = x.sizes(3);
    const headDim = dim / numHeads;
    const heads = (y: Tensor, parts: number) =>
      y.view([batch, length, parts, numHeads, headDim]).permute([2, 0, 3, 1, 4]);
    const q = heads(attention.query.forward(x).mul(headDim ** -0.5), 1).select(0, 0);
    const [k, v] = heads(attention.kv.forward(x), 2)
      .indexSelect(3, around.index)
      .view([2, batch, numHeads, length, around.keys, headDim])
      .unbind(0);
    const scores = q.unsqueeze(3).matmul(k.transpose(-2, -1)).squeeze(3); // [B, H, N, keys]
    const mixed = scores.add(around.mask).softmax(-1).unsqueeze(3).matmul(v).squeeze(3);
    return attention.proj.forward(mixed.transpose(1, 2).reshape([batch, length, dim]));
  });
}

const argument = process.argv.indexOf('--rounds');
const rounds = argument < 0 ? 5 : Number(process.argv[argument + 1]);
setThreads(cpus().length);
manualSeed(0);

const rows = LAYERS.map((layer) => {
  const attention = new LongformerAttention(options(layer, 0));
  const around = surroundings(layer.side);
  const grid = [layer.side, layer.side] as const;
  const ways: readonly ((x: Tensor) => Tensor)[] = [
    (x) => attention.forward(x, grid),
    (x) => attention.forward(x, grid, undefined, 1 + Math.floor(Math.random() * 8)),
    (x) => gathered(attention, layer, x, around),
  ];
  const seconds: number[][] = ways.map(() => []);
  let apart = 0;
  scope(() => {
    const x = randn([layer.batch, layer.side ** 2, layer.dim]);
    apart = ways[0](x).sub(ways[2](x)).abs().max().item();
  });
  for (let round = -1; round < rounds; round++)
    for (const [i, way] of ways.entries()) {
      const start = performance.now();
      scope(() => {
        const x = randn([layer.batch, layer.side ** 2, layer.dim]);
        x.requiresGrad = true;
        way(x).backward({ gradient: randn(x.shape) });
      });
      if (round >= 0) seconds[i].push(performance.now() - start);
    }
  const [chunks, random, naive] = seconds.map(median);
  return [
    layer.name,
    `${chunks.toFixed(0)} ms`,
    `${random.toFixed(0)} ms`,
    `${naive.toFixed(0)} ms`,
    `${(naive / chunks).toFixed(1)}x`,
    apart.toExponential(0),
  ];
});
console.log(table([['Layer', 'chunks', 'MODE 1', 'gathered', 'gain', 'apart'], ...rows]));
