/** The other kinds of attention, each where it must equal plain attention; and the gates on channels. */

import { describe, expect, it } from 'vitest';
import { buildBackbone, LongformerAttention } from '../../../src/models/index.js';
import { ChannelAttention, SqueezeExcite } from '../../../src/models/vil/channel-gates.js';
import { FullAttention } from '../../../src/models/vil/full-attention.js';
import { LinformerAttention } from '../../../src/models/vil/linformer.js';
import type { StageAttentionOptions } from '../../../src/models/vil/options.js';
import { PerformerAttention } from '../../../src/models/vil/performer.js';
import { ReducedAttention } from '../../../src/models/vil/reduced-attention.js';
import type { Linear } from '../../../src/nn/index.js';
import {
  backward,
  cat,
  eye,
  inferenceMode,
  manualSeed,
  noGrad,
  randn,
  scope,
  setThreads,
  type Tensor,
} from '../../../src/torch/index.js';

setThreads(1);

const GRID = [3, 4] as const;
const LENGTH = 14;

const BASE: StageAttentionOptions = {
  dim: 8,
  numHeads: 2,
  globals: 2,
  grid: GRID,
  relative: false,
  features: LENGTH,
  pooled: false,
  qkvBias: true,
  dropRate: 0,
  shareWeights: true,
  shareKv: true,
  onlyGlobal: false,
  exact: 0,
  mode: 0,
  poolMethod: null,
};

const distance = (a: Tensor, b: Tensor) => scope(() => a.sub(b).abs().max().item());

/** Plain attention with the weights of one that keeps queries apart from keys and values. */
function plain({ query, kv, proj }: { query: Linear; kv: Linear; proj: Linear }): FullAttention {
  const full = new FullAttention(BASE);
  noGrad(() =>
    scope(() => {
      full.qkv.weight.copy_(cat([query.weight, kv.weight], 0));
      full.qkv.bias?.copy_(cat([query.bias as Tensor, kv.bias as Tensor], 0));
      full.proj.weight.copy_(proj.weight);
      full.proj.bias?.copy_(proj.bias as Tensor);
    }),
  );
  return full;
}

describe('attention that is not local', () => {
  it('linformer that mixes nothing is plain attention, and refuses maps of another size', () => {
    manualSeed(1);
    const attention = new LinformerAttention(BASE);
    noGrad(() =>
      scope(() => {
        attention.projK.copy_(eye(LENGTH));
        const x = randn([2, LENGTH, 8]);
        expect(distance(attention.forward(x, GRID), plain(attention).forward(x, GRID))).toBeLessThan(1e-6);
        expect(() => attention.forward(randn([1, 11, 8]), [3, 3])).toThrow(
          /linformer is made for maps of 3 x 4 tokens and cannot take 3 x 3/,
        );
      }),
    );
  });

  it('srformer that reduces nothing, on a map that is normalised already, is plain attention', () => {
    manualSeed(2);
    const attention = new ReducedAttention({ ...BASE, features: 1 });
    noGrad(() =>
      scope(() => {
        attention.projSr.weight.copy_(eye(8).view([8, 8, 1, 1]));
        const x = randn([2, LENGTH, 8]);
        const map = x.narrow(1, 2, 12);
        map.sub_(map.mean([1], true)).div_(map.square().mean([1], true).sqrt());
        expect(distance(attention.forward(x, GRID), plain(attention).forward(x, GRID))).toBeLessThan(1e-4);
      }),
    );
  });

  it('performer comes to plain attention, the closer the more random features it has', () => {
    const full = new FullAttention(BASE);
    const errorOf = (features: number) => {
      manualSeed(3);
      const attention = new PerformerAttention({ ...BASE, features });
      return noGrad(() =>
        scope(() => {
          for (const name of ['qkv', 'proj'] as const)
            for (const part of ['weight', 'bias'] as const)
              (attention[name][part] as Tensor).copy_(full[name][part] as Tensor);
          const x = randn([2, LENGTH, 8]);
          let shown: Tensor | undefined;
          const found = attention.forward(x, GRID, (map) => {
            shown = map.keep();
          });
          const rows = (shown as Tensor).rescope().sum([3]);
          expect(distance(rows, rows.mul(0).add(1))).toBeLessThan(1e-5);
          return found.sub(full.forward(x, GRID)).square().meanAll().sqrt().item();
        }),
      );
    };
    // The error falls with the root of their number: by 16 from 16 to 4096.
    expect(errorOf(4096)).toBeLessThan(errorOf(16) / 5);
  });

  it('local attention whose chunk holds the whole map is plain attention', () => {
    manualSeed(4);
    const attention = new LongformerAttention({ ...BASE, features: 4 });
    noGrad(() =>
      scope(() => {
        const x = randn([2, LENGTH, 8]);
        expect(distance(attention.forward(x, GRID), plain(attention).forward(x, GRID))).toBeLessThan(1e-6);
      }),
    );
  });
});

describe.each(['linformer', 'srformer', 'performer', 'longformerauto', 'full'])('a network of %s', (type) => {
  const ARCH = 'l1,h2,d8,n1,g1,p4,f8_l2,h2,d16,n1,g1,f2_l3,h2,d32,n2,g0,f2,a0';
  const build = () =>
    buildBackbone({
      arch: 'vil',
      spec: { DROP_PATH: 0, MSVIT: { ARCH, ATTN_TYPE: type, SHARE_KV: false } },
      imgSize: 64,
    });

  it('trains: every parameter has a gradient that is finite, in pass after pass', () => {
    manualSeed(6);
    const network = build().train();
    for (let pass = 0; pass < 3; pass++) {
      network.zeroGrad();
      scope(() => {
        const both = [0, 1].map(() => network.forwardFeatures(randn([2, 3, 64, 64])).pooled);
        backward(
          both,
          both.map(({ shape }) => randn([...shape])),
        );
        const lost = [...network.namedParameters()].filter(
          ([, { grad }]) => grad === null || grad.isfinite().allAll().item() !== 1,
        );
        expect(lost.map(([name]) => name)).toEqual([]);
      });
    }
  });

  it('is the same through its state', () => {
    manualSeed(7);
    const [one, other] = [build().eval(), build().eval()];
    other.loadStateDict(one.stateDict());
    inferenceMode(() =>
      scope(() => {
        const x = randn([2, 3, 64, 64]);
        expect(distance(one.forwardFeatures(x).pooled, other.forwardFeatures(x).pooled)).toBe(0);
        const maps = one.attentionMaps(x);
        expect(maps).toHaveLength(type === 'linformer' || type === 'srformer' ? 0 : 4);
      }),
    );
  });
});

describe('gates', () => {
  it('SE and ECA scale each channel by what the means of all say', () => {
    manualSeed(8);
    const [squeeze, channel] = [new SqueezeExcite(8, 0.25), new ChannelAttention(8, 0.5)];
    expect([...squeeze.stateDict()].map(([name, { shape }]) => `${name} ${shape}`)).toEqual([
      'fc.0.weight 2,8',
      'fc.2.weight 8,2',
    ]);
    expect([...channel.stateDict()].map(([name, { shape }]) => `${name} ${shape}`)).toEqual([
      'conv.weight 1,1,5',
    ]);
    noGrad(() =>
      scope(() => {
        const x = randn([2, 6, 8]);
        const means = x.mean([1]);
        const [first, , second] = squeeze.fc as readonly Linear[];
        const hidden = means.matmul(first.weight.t()).clampMin(0);
        const gate = hidden.matmul(second.weight.t()).sigmoid().unsqueeze(1);
        expect(distance(squeeze.forward(x), x.mul(gate))).toBeLessThan(1e-6);
        const weight = channel.conv.weight.toFloat32();
        const padded = means.constantPadNd([2, 2]);
        const sums = weight.reduce<Tensor>(
          (sum, w, i) => sum.add(padded.narrow(1, i, 8).mul(w)),
          means.mul(0),
        );
        expect(distance(channel.forward(x), x.mul(sums.sigmoid().unsqueeze(1)))).toBeLessThan(1e-6);
      }),
    );
  });
});
