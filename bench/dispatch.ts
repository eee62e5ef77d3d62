/**
 * What does a training step cost beside its arithmetic? A Swin-T so narrow, on crops so small, that calling operators is
 * nearly all there is to it: the part of a step that a fast device has to wait for. Beside the same step in PyTorch.
 */

import { empty, linear, scope, setThreads, type Tensor, tensor } from '../src/torch/index.js';
import { median, Peer, table } from './peer.js';
import { buildSwin, LOCAL, noiseCrops, timedStep } from './swin-step.js';

const NETWORK = { dim: 6, heads: [1, 2, 3, 6], hidden: 16 } as const;
const SIZES = [64, 32] as const;
const OUT_DIM = 64;

const at = process.argv.indexOf('--rounds');
const rounds = at < 0 ? 20 : Number(process.argv[at + 1]);
const alone = process.argv.includes('--alone');

/** Microseconds of one call, the least of several runs. */
function callTime(body: () => void): number {
  const runs = Array.from({ length: 7 }, () => {
    const start = performance.now();
    for (let i = 0; i < 200; i++)
      scope(() => {
        for (let call = 0; call < 20; call++) body();
      });
    return (1000 * (performance.now() - start)) / 4000;
  });
  return Math.min(...runs);
}

setThreads(1);
const state = buildSwin(OUT_DIM, 'cpu', NETWORK);
const crops = noiseCrops(1, 'cpu', SIZES);
const peer = alone
  ? undefined
  : await Peer.start('train_step.py', {
      batch: 1,
      local: LOCAL,
      outDim: OUT_DIM,
      threads: 1,
      sizes: SIZES,
      network: NETWORK,
    });
const ours: Record<'float32' | 'bfloat16', number[]> = { float32: [], bfloat16: [] };
const theirs: number[] = [];
for (let round = -5; round < rounds; round++) {
  const [wide, mixed] = [timedStep(state, crops, 1, 'float32'), timedStep(state, crops, 1, 'bfloat16')];
  const other = await peer?.ask<{ seconds: number }>('step');
  if (round < 0) continue;
  ours.float32.push(1000 * wide);
  ours.bfloat16.push(1000 * mixed);
  if (other !== undefined) theirs.push(1000 * other.seconds);
}
await peer?.stop();

const wide = median(ours.float32);
console.log(
  table([
    ['one step', 'milliseconds'],
    ['esvit fp32', wide.toFixed(1)],
    ['esvit bf16', median(ours.bfloat16).toFixed(1)],
    // Before 2.0 its layer norm takes no bf16 on a CPU.
    ...(theirs.length === 0
      ? []
      : [
          ['PyTorch fp32', median(theirs).toFixed(1)],
          ['ratio', (median(theirs) / wide).toFixed(2)],
        ]),
  ]),
);

const small: Tensor = tensor(new Float32Array(4)).view([2, 2]).keep();
const weight: Tensor = tensor(new Float32Array(4)).view([2, 2]).keep();
console.log(
  table([
    ['one call without recording, microseconds', 'esvit'],
    ['add', callTime(() => void small.add(weight)).toFixed(2)],
    ['add_', callTime(() => void small.add_(weight)).toFixed(2)],
    ['view', callTime(() => void small.view([4])).toFixed(2)],
    ['permute', callTime(() => void small.permute([1, 0])).toFixed(2)],
    ['linear', callTime(() => void linear(small, weight)).toFixed(2)],
    ['empty, 64 MB that nobody touches', callTime(() => void empty([1 << 24])).toFixed(2)],
    ['shape of a new tensor', callTime(() => void small.view([4]).shape).toFixed(2)],
  ]),
);
