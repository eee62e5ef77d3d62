/**
 * Does the memory of ViL's attention grow with the number of tokens, not with its square? One layer of the first stage of
 * ViL-T, forward and backward of one picture, beside attention among all tokens; each size in a process of its own.
 * `npx tsx bench/vil-memory.ts [--most SIDE]`.
 */

import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { FullAttention, LongformerAttention } from '../src/models/index.js';
import { manualSeed, randn, scope, setThreads } from '../src/torch/index.js';
import { table } from './peer.js';

const SIDES = [112, 224, 336, 448];
const PATCH = 4;

interface Measured {
  /** beyond what the process had before, MB */
  megabytes: number;
  seconds: number;
}

const peak = () => process.resourceUsage().maxRSS / 1000;

/** One pass through one layer; the first, small one is not counted. */
function measure(kind: string, side: number): Measured {
  manualSeed(0);
  setThreads(cpus().length);
  const pass = (tokens: number): void =>
    scope(() => {
      const grid = [tokens, tokens] as const;
      const options = {
        dim: 96,
        numHeads: 3,
        globals: 1,
        grid,
        relative: true,
        features: 7,
        pooled: false,
        qkvBias: true,
        dropRate: 0,
        shareWeights: true,
        shareKv: false,
        onlyGlobal: false,
        exact: 0,
        mode: 0,
        poolMethod: null,
      } as const;
      const attention =
        kind === 'full'
          ? new FullAttention({ ...options, relative: false })
          : new LongformerAttention(options);
      const x = randn([1, 1 + tokens * tokens, 96]);
      x.requiresGrad = true;
      attention.forward(x, grid).backward({ gradient: randn(x.shape) });
    });
  pass(7);
  const before = peak();
  const start = performance.now();
  pass(side / PATCH);
  return { megabytes: peak() - before, seconds: (performance.now() - start) / 1000 };
}

const [kind, side] = process.argv.slice(2);
if (kind === 'full' || kind === 'vil') {
  console.log(JSON.stringify(measure(kind, Number(side))));
} else {
  const most = kind === '--most' ? Number(side) : Number.POSITIVE_INFINITY;
  const ask = (which: string, size: number): Measured => {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--import', 'tsx', fileURLToPath(import.meta.url), which, String(size)],
      { encoding: 'utf8' },
    );
    if (!stdout.startsWith('{')) throw new Error(stderr);
    return JSON.parse(stdout) as Measured;
  };
  const rows = SIDES.filter((size) => size <= most).map((size) => {
    const tokens = (size / PATCH) ** 2 + 1;
    const [vil, full] = ['vil', 'full'].map((which) => ask(which, size));
    return [
      `${size} px`,
      String(tokens),
      `${vil.megabytes.toFixed(0)} MB`,
      `${((1000 * vil.megabytes) / tokens).toFixed(0)} kB`,
      `${full.megabytes.toFixed(0)} MB`,
      `${((1000 * full.megabytes) / tokens).toFixed(0)} kB`,
      `${vil.seconds.toFixed(2)} s`,
      `${full.seconds.toFixed(2)} s`,
    ];
  });
  console.log(table([['Picture', 'Tokens', 'ViL', 'a token', 'All', 'a token', 'ViL', 'All'], ...rows]));
}
