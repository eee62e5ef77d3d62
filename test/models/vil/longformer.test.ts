/** Sliding chunks against attention among all tokens with a mask, written down without any chunk. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildBackbone, LongformerAttention, type VisionLongformer } from '../../../src/models/index.js';
import { layoutOf } from '../../../src/models/vil/chunks.js';
import type { Exactness, StageAttentionOptions } from '../../../src/models/vil/options.js';
import type { Linear } from '../../../src/nn/index.js';
import {
  cat,
  liveTensors,
  manualSeed,
  noGrad,
  randn,
  scope,
  setThreads,
  type Tensor,
  tensor,
} from '../../../src/torch/index.js';

setThreads(1);

const BASE: StageAttentionOptions = {
  dim: 8,
  numHeads: 2,
  globals: 1,
  grid: [6, 6],
  relative: true,
  features: 3,
  pooled: false,
  qkvBias: true,
  dropRate: 0,
  shareWeights: true,
  shareKv: false,
  onlyGlobal: false,
  exact: 0,
  mode: 0,
  poolMethod: null,
};

/** Offsets of chunks by the number of a mode: 1..8 row by row, without the middle. */
const NEIGHBOURS = [-1, 0, 1]
  .flatMap((dy) => [-1, 0, 1].map((dx) => [dy, dx] as const))
  .filter(([dy, dx]) => dy !== 0 || dx !== 0);

/** How a local token sees another: by the row of the bias table, or not at all. */
function rowOf(
  { features: w, exact }: StageAttentionOptions,
  [rows, columns]: readonly [number, number],
  mode: number,
  query: number,
  key: number,
): number | undefined {
  const [qy, qx] = [Math.floor(query / columns), query % columns];
  const [ky, kx] = [Math.floor(key / columns), key % columns];
  // On a ring the nearer way round; the test gives it three chunks and more, so there is one.
  const way = (from: number, to: number, size: number) => {
    const straight = Math.floor(to / w) - Math.floor(from / w);
    const chunks = size / w;
    if (exact !== -1 || Math.abs(straight) <= 1) return [straight, to];
    return straight > 0 ? [straight - chunks, to - size] : [straight + chunks, to + size];
  };
  const [cy, y] = way(qy, ky, rows);
  const [cx, x] = way(qx, kx, columns);
  if (Math.abs(cy) > 1 || Math.abs(cx) > 1) return undefined;
  const own = cy === 0 && cx === 0;
  if (mode === -1 && !own) return undefined;
  if (mode > 0 && !own && (NEIGHBOURS[mode - 1][0] !== cy || NEIGHBOURS[mode - 1][1] !== cx))
    return undefined;
  if (exact === 1 && (Math.abs(qy - y) > w || Math.abs(qx - x) > w)) return undefined;
  return (qy - y + 2 * w - 1) * (4 * w - 1) + (qx - x + 2 * w - 1);
}

/** The whole matrix of scores, with a bias or minus infinity for each pair. */
function dense(
  attention: LongformerAttention,
  options: StageAttentionOptions,
  x: Tensor,
  grid: readonly [number, number],
  mode: number,
): { y: Tensor; probabilities: Tensor } {
  const { globals, numHeads, dim, relative, onlyGlobal } = options;
  const [batch, length] = x.sizes(3);
  const locals = length - globals;
  const apply = (local: Linear, global: Linear | null) => {
    const far = local.forward(x.narrow(1, globals, locals));
    return global === null ? far : cat([global.forward(x.narrow(1, 0, globals)), far], 1);
  };
  const heads = (y: Tensor) => y.view([batch, -1, numHeads, dim / numHeads]).transpose(1, 2);
  const q = heads(apply(attention.query, attention.queryGlobal));
  const kv = attention.kv.forward(x).chunk(2, -1).map(heads);
  const kvGlobal = (attention.kvGlobal ?? attention.kv).forward(x).chunk(2, -1).map(heads);

  const bias = new Float32Array(numHeads * length * length);
  const table = attention.localRelativePositionBiasTable?.toFloat32();
  const g2l = attention.g2lRelativePositionBias?.toFloat32();
  const g2g = attention.g2gRelativePositionBias?.toFloat32();
  for (let head = 0; head < numHeads; head++)
    for (let i = 0; i < length; i++)
      for (let j = 0; j < length; j++) {
        let value = 0;
        if (i < globals && j < globals) value = g2g?.[(head * globals + i) * globals + j] ?? 0;
        else if (i < globals) value = g2l?.[head * globals + i] ?? 0;
        else if (j < globals) value = onlyGlobal ? 0 : (g2l?.[(numHeads + head) * globals + j] ?? 0);
        else {
          const row = rowOf(options, grid, mode, i - globals, j - globals);
          if (row === undefined || onlyGlobal) value = Number.NEGATIVE_INFINITY;
          else if (relative && table !== undefined) value = table[row * numHeads + head];
        }
        bias[(head * length + i) * length + j] = value;
      }
  const biases = tensor(bias, { shape: [numHeads, length, length] });
  const scale = (dim / numHeads) ** -0.5;
  const see = ([key, value]: Tensor[], from: number, count: number) => {
    const probabilities = q
      .narrow(2, from, count)
      .mul(scale)
      .matmul(key.transpose(-2, -1))
      .add(biases.narrow(1, from, count))
      .softmax(-1);
    return { probabilities, mixed: probabilities.matmul(value).transpose(1, 2).reshape([batch, count, dim]) };
  };
  const local = see(kv, globals, locals);
  const far = attention.proj.forward(local.mixed);
  if (globals === 0) return { y: far, probabilities: local.probabilities };
  const all = see(kvGlobal, 0, globals);
  const near = (attention.projGlobal as Linear).forward(all.mixed);
  return { y: cat([near, far], 1), probabilities: cat([all.probabilities, local.probabilities], 2) };
}

const distance = (a: Tensor, b: Tensor) => scope(() => a.sub(b).abs().max().item());

const anyOptions = fc
  .record({
    globals: fc.integer({ min: 0, max: 3 }),
    relative: fc.boolean(),
    features: fc.integer({ min: 1, max: 4 }),
    shareWeights: fc.boolean(),
    qkvBias: fc.boolean(),
    onlyGlobal: fc.boolean(),
    exact: fc.constantFrom<Exactness>(-1, 0, 1),
    mode: fc.integer({ min: -1, max: 8 }),
    size: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })),
  })
  .map(({ mode, size, ...own }) => {
    const ring = own.exact === -1;
    const grid = size.map((side) => (ring ? own.features * (3 + (side % 2)) : side)) as [number, number];
    const options = { ...BASE, ...own, grid, onlyGlobal: own.onlyGlobal && own.globals > 0 };
    return { options, mode, grid };
  });

describe('sliding chunks', () => {
  it('equal attention among all tokens under a mask: outputs, gradients, and the map they show', () => {
    manualSeed(1);
    fc.assert(
      fc.property(anyOptions, ({ options, mode, grid }) => {
        const attention = new LongformerAttention(options);
        noGrad(() => {
          for (const parameter of attention.parameters()) parameter.uniform_(-0.6, 0.6);
        });
        scope(() => {
          const shape = [2, options.globals + grid[0] * grid[1], options.dim];
          const values = randn(shape);
          const gradient = randn(shape);
          const run = (forward: (x: Tensor) => Tensor) => {
            attention.zeroGrad();
            const x = values.clone();
            x.requiresGrad = true;
            const y = forward(x);
            y.backward({ gradient });
            return [y, x.grad as Tensor, attention.kv.weight.grad as Tensor];
          };
          let shown: Tensor | undefined;
          let expected: Tensor | undefined;
          const mine = run((x) => attention.forward(x, grid, (map) => (shown = map.keep()), mode));
          const theirs = run((x) => {
            const { y, probabilities } = dense(attention, options, x, grid, mode);
            expected = probabilities;
            return y;
          });
          for (const [i, value] of theirs.entries()) expect(distance(mine[i], value)).toBeLessThan(5e-5);
          const map = (shown as Tensor).rescope();
          expect(distance(map, expected as Tensor)).toBeLessThan(1e-5);
        });
      }),
      { numRuns: 60, seed: 7 },
    );
  });

  it('give the bias table the gradient that the dense matrix gives it', () => {
    manualSeed(2);
    const attention = new LongformerAttention({ ...BASE, grid: [7, 5] });
    const table = attention.localRelativePositionBiasTable as Tensor;
    scope(() => {
      const x = randn([1, 36, 8]);
      const gradient = randn([1, 36, 8]);
      attention.forward(x, [7, 5]).backward({ gradient });
      const found = (table.grad as Tensor).toFloat32();
      const value = table.toFloat32();
      const loss = () =>
        noGrad(() => scope(() => dense(attention, BASE, x, [7, 5], 0).y.mul(gradient).sumAll().item()));
      const step = 1e-2;
      for (const at of [100, 121, 140, 141, 160]) {
        const moved = (by: number) => {
          const other = Float32Array.from(value);
          other[at] += by;
          noGrad(() => scope(() => void table.copy_(tensor(other, { shape: table.shape }))));
          return loss();
        };
        const slope = (moved(step) - moved(-step)) / (2 * step);
        moved(0);
        expect(found[at]).toBeCloseTo(slope, 3);
      }
    });
  });

  it('leave out chunks that no query can see', () => {
    const numbers = (grid: [number, number], mode: number, exact: Exactness = 0) =>
      layoutOf(grid, 4, mode, exact, 1).neighbours;
    expect(numbers([4, 4], 0)).toEqual([4]);
    expect(numbers([4, 8], 0)).toEqual([3, 4, 5]);
    expect(numbers([5, 5], 0)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(numbers([4, 4], 0, -1)).toHaveLength(9);
    expect(numbers([4, 4], 3)).toEqual([4]);
    expect(numbers([8, 8], 3)).toEqual([4, 2]);
    expect(numbers([8, 8], 6)).toEqual([4, 6]);
  });

  it('make their layouts once for each size, mode and device', () => {
    const attention = new LongformerAttention(BASE).eval();
    const look = () =>
      noGrad(() =>
        scope(() => {
          for (const mode of [0, -1, 1, 5]) attention.forward(randn([1, 26, 8]), [5, 5], undefined, mode);
        }),
      );
    look();
    const before = liveTensors();
    look();
    expect(liveTensors()).toBe(before);
  });
});

describe('a mode above 0', () => {
  const ARCH = 'l1,h1,d4,n1,g1,p2,f2,a0_l2,h1,d4,n1,g0,f2_l3,h1,d4,n1,s0,g0';
  const build = (own: object) =>
    buildBackbone({
      arch: 'vil',
      spec: { DROP_PATH: 0, MSVIT: { ARCH, ...own } },
      imgSize: 32,
    }) as VisionLongformer;
  const answers = (network: VisionLongformer, times: number) =>
    noGrad(() =>
      scope(() => {
        manualSeed(5);
        const x = randn([1, 3, 32, 32]);
        return Array.from({ length: times }, () => network.forwardFeatures(x).pooled.toFloat32().join());
      }),
    );

  it('draws in training, by the seed, and sees all around otherwise', () => {
    const network = build({ MODE: 1, VIL_MODE_SWITCH: 0.5 });
    const calm = build({ MODE: 0 });
    calm.loadStateDict(network.stateDict());
    const drawn = answers(network.train(), 12);
    expect(new Set(drawn).size).toBeGreaterThan(3);
    expect(answers(network, 12)).toEqual(drawn);
    expect(new Set(answers(network.eval(), 3))).toEqual(new Set(answers(calm.eval(), 1)));
    expect(answers(calm.train(), 2)).toEqual(answers(calm.eval(), 2));
  });

  it('becomes 0 when the share of VIL_MODE_SWITCH is done, and comes back in a new training', () => {
    const network = build({ MODE: 1, VIL_MODE_SWITCH: 0.75 }).train();
    const draws = (share: number) => {
      network.trainingProgress(share);
      return new Set(answers(network, 12)).size > 1;
    };
    expect([0, 0.7, 0.75, 0.9, 0].map(draws)).toEqual([true, true, false, false, true]);
  });

  it('is left alone where it is 0 or -1', () => {
    const network = build({ MODE: -1, VIL_MODE_SWITCH: 0 }).train();
    const before = answers(network, 1);
    network.trainingProgress(1);
    expect(answers(network, 1)).toEqual(before);
  });
});
