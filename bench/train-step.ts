/** How long is one training step, beside the same step in plain PyTorch? Swin-T, both tasks, 2x224 + 8x96 crops. */

import { cpus } from 'node:os';
import { type DType, setThreads } from '../src/torch/index.js';
import { median, Peer, table } from './peer.js';
import { buildSwin, LOCAL, noiseCrops, timedStep } from './swin-step.js';

/** A step of ours as a function that gives its seconds. */
function ours(batch: number, outDim: number, precision: DType): () => number {
  const state = buildSwin(outDim);
  const crops = noiseCrops(batch);
  return () => timedStep(state, crops, batch, precision);
}

interface Options {
  batch: number;
  outDim: number;
  rounds: number;
  threads: number;
}

export async function trainStepBench(options: Options): Promise<void> {
  const { batch, outDim, rounds, threads } = options;
  setThreads(threads);
  const peer = await Peer.start('train_step.py', { batch, local: LOCAL, outDim, threads });
  const step = ours(batch, outDim, 'float32');
  const mine: number[] = [];
  const theirs: number[] = [];
  let peerRss = 0;
  for (let round = -1; round < rounds; round++) {
    const own = step();
    const { seconds, rss } = await peer.ask<{ seconds: number; rss: number }>('step');
    peerRss = rss;
    if (round < 0) continue; // warm-up
    mine.push(own);
    theirs.push(seconds);
  }
  await peer.stop();
  const rss = process.resourceUsage().maxRSS * 1024;
  const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(2);
  const ratio = median(theirs.map((seconds, i) => seconds / mine[i]));
  console.log(
    `Swin-T, views + regions, 2x224 + ${LOCAL}x96, out_dim ${outDim}, batch ${batch}, ${threads} threads`,
  );
  console.log(
    table([
      ['', 'seconds a step', 'peak memory (GB)'],
      ['PyTorch fp32', median(theirs).toFixed(2), gigabytes(peerRss)],
      ['esvit fp32', median(mine).toFixed(2), gigabytes(rss)],
      ['ratio', `${ratio.toFixed(2)}x faster`, `${(rss / peerRss).toFixed(2)}x`],
    ]),
  );
}

/** Ours in bfloat16 beside ours in float32, in one process. */
export function precisionBench({ batch, outDim, rounds, threads }: Options): void {
  setThreads(threads);
  const [wide, narrow] = [ours(batch, outDim, 'float32'), ours(batch, outDim, 'bfloat16')];
  const seconds: [number, number][] = [];
  for (let round = -1; round < rounds; round++) {
    const pair: [number, number] = [wide(), narrow()];
    if (round >= 0) seconds.push(pair);
  }
  const middle = (column: 0 | 1) => median(seconds.map((pair) => pair[column])).toFixed(2);
  const ratio = median(seconds.map(([slow, fast]) => slow / fast));
  console.log(
    table([
      ['', 'seconds a step'],
      ['esvit fp32', middle(0)],
      ['esvit bf16', middle(1)],
      ['ratio', `${ratio.toFixed(2)}x faster`],
    ]),
  );
}

const number = (name: string, fallback: number) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};

const options: Options = {
  batch: number('batch', 2),
  outDim: number('out_dim', 65536),
  rounds: number('rounds', 5),
  threads: number('threads', cpus().length),
};
if (process.argv.includes('--bf16')) precisionBench(options);
else await trainStepBench(options);
