/** Attention of Vision Longformer (Zhang et al. 2021): local in two dimensions, with global tokens beside. */

import { Buffer, drop, Linear, Module, Parameter, truncatedNormal } from '../../nn/index.js';
import { cat, randint, scope, type Tensor, tensor, zeros } from '../../torch/index.js';
import { denseMap, type LocalAttention, type MapObserver } from './attention-map.js';
import { type ChunkLayout, ChunkLayouts, fromChunks, gatherNeighbours, intoChunks } from './chunks.js';
import type { Grid, StageAttentionOptions } from './options.js';
import { pooledBias, pooledKeys, pooledParts } from './pooled-keys.js';
import { GridPositionIndices } from './relative-bias.js';

/**
 * For each query of a chunk and each key of the 3 x 3 chunks around it (chunk by chunk, row by row) the row of the
 * bias table that belongs to their offset. int64 [chunk², 9 * chunk²]
 */
function chunkPositionIndex(chunk: number): Tensor {
  const area = chunk * chunk;
  const index = new BigInt64Array(area * 9 * area);
  for (let query = 0; query < area; query++)
    for (let key = 0; key < 9 * area; key++) {
      const [around, place] = [Math.floor(key / area), key % area];
      const y = (Math.floor(around / 3) - 1) * chunk + Math.floor(place / chunk);
      const x = ((around % 3) - 1) * chunk + (place % chunk);
      const dy = Math.floor(query / chunk) - y + 2 * chunk - 1;
      const dx = (query % chunk) - x + 2 * chunk - 1;
      index[query * 9 * area + key] = BigInt(dy * (4 * chunk - 1) + dx);
    }
  return tensor(index, { shape: [area, 9 * area] });
}

/**
 * A local token sees the tokens of its own chunk, of the chunks around it and the global ones; a global token sees
 * all. Time and memory grow with the number of tokens, not with its square. ViL paper, section 3.2 and figure 3.
 */
export class LongformerAttention extends Module {
  /** [(4 chunk - 1)², heads] */
  readonly localRelativePositionBiasTable: Parameter | null = null;
  /** [2, heads, globals]: from global to local tokens, and back */
  readonly g2lRelativePositionBias: Parameter | null = null;
  /** [heads, globals, globals] */
  readonly g2gRelativePositionBias: Parameter | null = null;
  readonly pooledKScale: Parameter | null = null;
  readonly pooledQScale: Parameter | null = null;
  readonly relativePositionBiasTableXwin: Parameter | null = null;
  readonly relativePositionIndex: Buffer | null = null;
  readonly relativePositionIndexXwin: Buffer | null = null;
  readonly query: Linear;
  readonly kv: Linear;
  readonly proj: Linear;
  /** the very modules above where weights are shared */
  readonly queryGlobal: Linear | null = null;
  readonly kvGlobal: Linear | null = null;
  readonly projGlobal: Linear | null = null;
  readonly poolFc: Linear | null = null;
  /** as in the options; the network sets it to 0 when its time has come */
  mode: number;
  private readonly layouts: ChunkLayouts;
  private readonly poolIndices = new GridPositionIndices();

  constructor(private readonly options: StageAttentionOptions) {
    super();
    const { dim, numHeads, globals, relative, features: chunk, shareWeights } = options;
    this.mode = options.mode;
    this.layouts = new ChunkLayouts(chunk, options.exact, globals);
    const bias = { bias: options.qkvBias };
    const table = (shape: readonly number[]) => new Parameter(truncatedNormal(zeros(shape), 0.02));
    this.query = new Linear(dim, dim, bias);
    this.kv = new Linear(dim, 2 * dim, bias);
    this.proj = new Linear(dim, dim);
    if (globals > 0) {
      this.queryGlobal = shareWeights ? this.query : new Linear(dim, dim, bias);
      this.kvGlobal = shareWeights ? this.kv : new Linear(dim, 2 * dim, bias);
      this.projGlobal = shareWeights ? this.proj : new Linear(dim, dim);
    }
    if (relative) {
      this.localRelativePositionBiasTable = table([(4 * chunk - 1) ** 2, numHeads]);
      this.relativePositionIndex = new Buffer(chunkPositionIndex(chunk));
      if (globals > 0) {
        this.g2lRelativePositionBias = table([2, numHeads, globals]);
        this.g2gRelativePositionBias = table([numHeads, globals, globals]);
      }
    }
    if (options.pooled) {
      const parts = pooledParts(options);
      this.pooledKScale = parts.keyScale;
      this.pooledQScale = parts.valueScale;
      this.relativePositionBiasTableXwin = parts.table;
      this.relativePositionIndexXwin = parts.index;
      this.poolFc = parts.fc;
    }
  }

  /**
   * x: [B, globals + rows * columns, dim] -> the same shape. `mode` overrides what mode and training say: 0, -1,
   * or 1..8. `observe` is given the probabilities [B, heads, L, L].
   */
  forward(x: Tensor, grid: Grid, observe?: MapObserver, mode = this.drawMode()): Tensor {
    return scope(() => {
      const { globals, shareWeights, onlyGlobal } = this.options;
      const [, length] = x.sizes(3);
      const locals = length - globals;
      const shared = shareWeights || globals === 0;
      const kv = this.split(this.kv.forward(x), 2); // [B, L, 2, H, M]
      const query = this.query.forward(shared ? x : x.narrow(1, globals, locals)).mul(this.scale);
      const localQuery = this.split(shared ? query.narrow(1, globals, locals) : query, 1);
      const local = onlyGlobal ? this.seeGlobals(localQuery, kv) : this.seeChunks(localQuery, kv, grid, mode);
      if (globals === 0) {
        observe?.(denseMap(local, null, 0, grid));
        return this.projectDrop(this.proj.forward(local.mixed));
      }
      const globalQuery = this.split(
        shared
          ? query.narrow(1, 0, globals)
          : (this.queryGlobal as Linear).forward(x.narrow(1, 0, globals)).mul(this.scale),
        1,
      );
      const globalKv = shared ? kv : this.split((this.kvGlobal as Linear).forward(x), 2);
      const all = this.seeAll(globalQuery, globalKv);
      observe?.(denseMap(local, all.probabilities, globals, grid));
      const projected = shared
        ? this.proj.forward(cat([all.mixed, local.mixed], 1))
        : cat([(this.projGlobal as Linear).forward(all.mixed), this.proj.forward(local.mixed)], 1);
      return this.projectDrop(projected);
    });
  }

  /** 0, -1, or, in training with a mode above 0, the number of a random neighbour. */
  private drawMode(): number {
    if (this.mode <= 0) return this.mode;
    return this.training ? scope(() => randint(1, 9, [1]).item()) : 0;
  }

  private get scale(): number {
    return (this.options.dim / this.options.numHeads) ** -0.5;
  }

  /** [B, L, parts * dim] -> [B, L, parts, H, M] */
  private split(x: Tensor, parts: number): Tensor {
    const { numHeads, dim } = this.options;
    const [batch, length] = x.sizes(3);
    return x.reshape([batch, length, parts, numHeads, dim / numHeads]);
  }

  private projectDrop(x: Tensor): Tensor {
    return drop(x, this.options.dropRate, this.training);
  }

  /** Local queries [B, N, 1, H, M] see global keys only -> mixed [B, N, dim] */
  private seeGlobals(query: Tensor, kv: Tensor): LocalAttention {
    return scope(() => {
      const [key, value] = heads(kv.narrow(1, 0, this.options.globals)); // [B, H, g, M]
      const [q] = heads(query);
      const probabilities = q.matmul(key.transpose(-2, -1)).softmax(-1); // [B, H, N, g]
      return { mixed: merge(probabilities.matmul(value)), probabilities, layout: null };
    });
  }

  /** Global queries [B, g, 1, H, M] see everything -> mixed [B, g, dim] */
  private seeAll(query: Tensor, kv: Tensor): { mixed: Tensor; probabilities: Tensor } {
    return scope(() => {
      const { globals } = this.options;
      const [key, value] = heads(kv); // [B, H, L, M]
      const [q] = heads(query);
      const scores = q.matmul(key.transpose(-2, -1)); // [B, H, g, L]
      if (this.g2gRelativePositionBias !== null && this.g2lRelativePositionBias !== null) {
        const toLocal = this.g2lRelativePositionBias.select(0, 0).unsqueeze(-1);
        const locals = key.shape[2] - globals;
        scores.add_(cat([this.g2gRelativePositionBias, toLocal.expand([-1, -1, locals])], -1));
      }
      const probabilities = scores.softmax(-1);
      const mixed = merge(probabilities.matmul(value));
      return { mixed, probabilities };
    });
  }

  /** Local queries [B, N, 1, H, M] see their chunks and the global tokens -> mixed [B, N, dim] */
  private seeChunks(query: Tensor, kv: Tensor, grid: Grid, mode: number): LocalAttention {
    return scope(() => {
      const { globals } = this.options;
      const layout = this.layouts.for(grid, mode, query.device);
      const q = intoChunks(query, grid, layout).select(0, 0); // [B, H, R, C, w², M]
      const local = intoChunks(kv.narrow(1, globals, kv.shape[1] - globals), grid, layout);
      const around = gatherNeighbours(local, layout); // [2, B, H, R, C, keys, M]
      const parts = [around];
      if (globals > 0)
        parts.unshift(
          kv
            .narrow(1, 0, globals)
            .permute([2, 0, 3, 1, 4])
            .unsqueeze(3)
            .unsqueeze(3)
            .expand([-1, -1, -1, layout.rows, layout.columns, -1, -1]),
        );
      const pooled = this.pool(local);
      if (pooled !== null) parts.push(pooled.expand([-1, -1, -1, layout.rows, layout.columns, -1, -1]));
      const [key, value] = (parts.length === 1 ? around : cat(parts, 5)).unbind(0);
      const scores = q.matmul(key.transpose(-2, -1)); // [B, H, R, C, w², globals + keys + pools]
      const seen = pooled === null ? scores : scores.narrow(-1, 0, scores.shape[5] - pooled.shape[5]);
      if (this.localRelativePositionBiasTable !== null)
        seen.add_(this.localBias(this.localRelativePositionBiasTable, layout));
      if (layout.mask !== null) seen.add_(layout.mask);
      if (pooled !== null && this.relativePositionBiasTableXwin !== null && this.options.relative)
        scores
          .narrow(-1, seen.shape[5], pooled.shape[5])
          .add_(pooledBias(this.relativePositionBiasTableXwin, this.poolIndices, this.options, layout));
      const probabilities = scores.softmax(-1);
      return { mixed: fromChunks(probabilities.matmul(value), grid, layout), probabilities, layout };
    });
  }

  /** One key and one value for each chunk, where the stage has them: [2, B, H, 1, 1, pools, M] */
  private pool(local: Tensor): Tensor | null {
    const { pooledKScale, pooledQScale, poolFc } = this;
    if (pooledKScale === null || pooledQScale === null) return null;
    return pooledKeys(local, { keyScale: pooledKScale, valueScale: pooledQScale, fc: poolFc });
  }

  /** The bias of queries in a chunk towards the global tokens and the keys around: [heads, 1, 1, w², globals + keys] */
  private localBias(table: Parameter, layout: ChunkLayout): Tensor {
    return scope(() => {
      const { globals, numHeads } = this.options;
      const area = layout.chunk ** 2;
      const keys = layout.neighbours.length * area;
      const all = this.relativePositionIndex as Buffer;
      const index =
        keys === all.shape[1]
          ? all
          : cat(
              layout.neighbours.map((i) => all.narrow(1, i * area, area)),
              1,
            );
      // By gather, whose backward is one loop: those of an index and of an embedding make tensors row by row.
      const rows = index.reshape([area * keys, 1]).expand([-1, numHeads]);
      const around = table.gather(0, rows).view([area, keys, numHeads]).permute([2, 0, 1]);
      if (this.g2lRelativePositionBias === null) return around.unsqueeze(1).unsqueeze(1);
      const toGlobals = this.g2lRelativePositionBias.select(0, 1).unsqueeze(1).expand([-1, area, -1]);
      return cat([toGlobals, around], 2).view([numHeads, 1, 1, area, globals + keys]);
    });
  }
}

/** [B, L, parts, H, M] -> parts of [B, H, L, M] */
function heads(x: Tensor): Tensor[] {
  return x.permute([2, 0, 3, 1, 4]).unbind(0);
}

/** [B, H, L, M] -> [B, L, H * M] */
function merge(x: Tensor): Tensor {
  const [batch, count, length, width] = x.sizes(4);
  return x.transpose(1, 2).reshape([batch, length, count * width]);
}
