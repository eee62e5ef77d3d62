/**
 * How fast is training on a GPU? One step with crops that lie there, beside the same step in plain PyTorch, in turns; then
 * steps on pictures, through the whole data path. Every part ends within its share of `--seconds`.
 */

import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { CropLoader, dinoPlan, networkInput, openImages } from '../src/data/index.js';
import {
  cudaAvailable,
  cudaMemory,
  type DType,
  emptyCudaCache,
  forgetCudaPeak,
  scope,
  setExactMatmul,
  setThreads,
  synchronize,
  torchInfo,
} from '../src/torch/index.js';
import { median, Peer, pythonWithTorch, table } from './peer.js';
import { buildSwin, LOCAL, noiseCrops, timedStep } from './swin-step.js';

const DTYPES: Readonly<Record<string, DType>> = { fp32: 'float32', bf16: 'bfloat16', fp16: 'float16' };
/** Steps of one side before it is the other's turn, after one that is not timed. */
const STEPS = 4;

interface Side {
  /** seconds of each timed step */
  steps: number[];
  /** bytes of tensors at most; null where it is not known */
  peak: number | null;
  /** percent of the time in which the GPU was at work, sampled by nvidia-smi; null where that is not there */
  busy: number | null;
  error?: string;
}

interface StepRow {
  batch: number;
  precision: string;
  ours: Side;
  peer: Side;
}

interface PathRow {
  precision: string;
  batch: number;
  workers: number;
  /** with the steps, and of the data path alone */
  imagesPerSecond: number;
  dataImagesPerSecond: number;
  /** share of the time in which the steps waited for data */
  waiting: number;
  steps: number;
}

const flag = (name: string) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};
const number = (name: string, fallback: number) => Number(flag(name) ?? fallback);
const list = (name: string, fallback: string) => (flag(name) ?? fallback).split(',');

const device = flag('device') ?? 'cuda';
const seconds = number('seconds', 120);
const outDim = number('out_dim', 65536);
const batches = list('batch', '32,64').map(Number);
const precisions = list('precision', 'bf16,fp32,fp16');
const data = flag('data');
const workers = number('workers', Math.max(1, cpus().length - 2));
const out = flag('out');

const clock = () => performance.now() / 1000;
const result = {
  device,
  libtorch: torchInfo().version,
  gpu: await gpuName(),
  cores: cpus().length,
  outDim,
  steps: [] as StepRow[],
  dataPath: [] as PathRow[],
};

function save(): void {
  if (out === undefined) return;
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, 'bench-gpu.json'), `${JSON.stringify(result, null, 1)}\n`);
}

function smi(query: string, ...more: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'esvit-smi-'));
  const path = join(folder, 'out');
  const file = openSync(path, 'w');
  const child = spawn('nvidia-smi', [`--query-gpu=${query}`, '--format=csv,noheader,nounits', ...more], {
    stdio: ['ignore', file, 'ignore'],
  });
  closeSync(file);
  const ended = new Promise<void>((resolve) => {
    child.on('error', () => resolve());
    child.on('close', () => resolve());
  });
  return async (stop: boolean): Promise<string[]> => {
    if (stop) child.kill();
    await ended;
    const lines = readFileSync(path, 'utf8').trim().split('\n').filter(Boolean);
    rmSync(folder, { recursive: true, force: true });
    return lines;
  };
}

async function gpuName(): Promise<string | undefined> {
  return device === 'cpu' ? undefined : (await smi('name')(false))[0];
}

/** Runs `work`; how busy the GPU was meanwhile. */
async function watched<T>(work: () => Promise<T>): Promise<{ value: T; busy: number[] }> {
  if (device === 'cpu') return { value: await work(), busy: [] };
  const end = smi('utilization.gpu', '-lms', '100');
  try {
    const value = await work();
    // The first samples still tell of the time before.
    return { value, busy: (await end(true)).map(Number).slice(3).filter(Number.isFinite) };
  } catch (error) {
    await end(true);
    throw error;
  }
}

const isMemory = (error: unknown) => /out of memory/i.test(String(error));

async function stepRow(peer: Peer | undefined, batch: number, precision: string, budget: number) {
  const dtype = DTYPES[precision];
  const ours: Side = { steps: [], peak: null, busy: null };
  const theirs: Side = { steps: [], peak: null, busy: null };
  const busy = { ours: [] as number[], peer: [] as number[] };
  const end = clock() + budget;
  let crops = noiseCrops(batch, device);
  if (peer !== undefined) {
    const answers = [
      await peer.ask<object>(`batch ${batch}`),
      await peer.ask<object>(`precision ${precision}`),
    ];
    if (answers.some((answer) => 'error' in answer)) theirs.error = 'out of memory';
  }
  for (let round = 0; round === 0 || clock() < end; round++) {
    if (ours.error === undefined)
      try {
        forgetCudaPeak();
        timedStep(state, crops, batch, dtype);
        const { busy: samples } = await watched(async () => {
          for (let i = 0; i < STEPS && (i < 2 || clock() < end); i++)
            ours.steps.push(timedStep(state, crops, batch, dtype));
        });
        busy.ours.push(...samples);
        ours.peak =
          device === 'cpu' ? process.resourceUsage().maxRSS * 1024 : (cudaMemory()?.allocatedPeak ?? null);
      } catch (error) {
        if (!isMemory(error)) throw error;
        ours.error = 'out of memory';
        state.loss.dropCollected();
      }
    state.optimizer.zeroGrad();
    emptyCudaCache();
    if (peer !== undefined && theirs.error === undefined) {
      await peer.ask('forget');
      const first = await peer.ask<{ error?: string }>('step');
      if (first.error === undefined) {
        const { busy: samples } = await watched(async () => {
          for (let i = 0; i < STEPS && (i < 2 || clock() < end); i++) {
            const step = await peer.ask<{ seconds: number; peak: number; error?: string }>('step');
            if (step.error !== undefined) theirs.error = step.error;
            else theirs.steps.push(step.seconds);
            theirs.peak = step.peak ?? theirs.peak;
          }
        });
        busy.peer.push(...samples);
      } else theirs.error = first.error;
      await peer.ask('forget');
    }
    if (ours.error !== undefined && (peer === undefined || theirs.error !== undefined)) break;
  }
  for (const x of crops) x.dispose();
  crops = [];
  ours.busy = busy.ours.length > 0 ? median(busy.ours) : null;
  theirs.busy = busy.peer.length > 0 ? median(busy.peer) : null;
  result.steps.push({ batch, precision, ours, peer: theirs });
  save();
}

/** Steps on pictures for `budget` seconds, a quarter of them for the data path alone. */
async function dataPath(folder: string, precision: string, batch: number, budget: number): Promise<void> {
  const source = await openImages(folder);
  const loader = new CropLoader({
    source,
    plan: dinoPlan({ localCounts: [LOCAL] }),
    seed: 0,
    batchSize: batch,
    workers,
    photometric: device === 'cpu' ? 'workers' : 'device',
  });
  const inputs = (groups: Parameters<typeof networkInput>[0][]) =>
    groups.map((group) => networkInput(group, device));
  let epoch = 0;
  /** Batches until `until`, of which the first two are not counted; images a second. */
  const run = async (until: number, work: (crops: ReturnType<typeof inputs>) => void) => {
    let [count, started, waited] = [0, 0, 0];
    while (clock() < until) {
      for await (const { groups } of loader.batches(epoch++)) {
        scope(() => work(inputs([...groups])));
        synchronize();
        if (++count === 2) [started, waited] = [clock(), loader.stats.waitSeconds];
        if (clock() >= until && count > 3) break;
      }
    }
    const took = clock() - started;
    return {
      images: ((count - 2) * batch) / took,
      waiting: (loader.stats.waitSeconds - waited) / took,
      steps: count - 2,
    };
  };
  try {
    const alone = await run(clock() + budget / 4, () => {});
    const whole = await run(clock() + (3 * budget) / 4, (crops) => {
      timedStep(state, crops, batch, DTYPES[precision]);
    });
    result.dataPath.push({
      precision,
      batch,
      workers,
      imagesPerSecond: whole.images,
      dataImagesPerSecond: alone.images,
      waiting: whole.waiting,
      steps: whole.steps,
    });
    save();
  } finally {
    await loader.close();
    source.close();
  }
}

function print(): void {
  const gigabytes = (bytes: number | null) => (bytes === null ? '?' : (bytes / 1e9).toFixed(1));
  const milliseconds = ({ steps, error }: Side) =>
    steps.length > 0 ? (1000 * median(steps)).toFixed(1) : (error ?? '-');
  const percent = (value: number | null) => (value === null ? '?' : `${value.toFixed(0)}%`);
  const rows = result.steps.map(({ batch, precision, ours, peer }) => [
    `batch ${batch} ${precision}`,
    milliseconds(ours),
    ours.steps.length > 0 ? (batch / median(ours.steps)).toFixed(0) : '-',
    gigabytes(ours.peak),
    percent(ours.busy),
    milliseconds(peer),
    gigabytes(peer.peak),
    percent(peer.busy),
    ours.steps.length > 0 && peer.steps.length > 0
      ? `${(median(peer.steps) / median(ours.steps)).toFixed(2)}x`
      : '-',
  ]);
  console.log(
    `${result.gpu ?? device}, libtorch ${result.libtorch}, Swin-T, views + regions, out_dim ${outDim}`,
  );
  const heads = [
    'step',
    'ours ms',
    'images/s',
    'peak GB',
    'GPU busy',
    'PyTorch ms',
    'peak GB',
    'GPU busy',
    'ratio',
  ];
  console.log(table([heads, ...rows]));
  for (const { precision, batch, imagesPerSecond, dataImagesPerSecond, waiting, steps } of result.dataPath)
    console.log(
      `from pictures, batch ${batch} ${precision}, ${workers} workers: ${imagesPerSecond.toFixed(0)} images/s over ${steps} ` +
        `steps, ${(100 * waiting).toFixed(0)}% of the time waiting for data; the data path alone ${dataImagesPerSecond.toFixed(0)} images/s`,
    );
}

if (device !== 'cpu' && !cudaAvailable())
  throw new Error('there is no CUDA device; --device cpu tries the benchmark itself');
setThreads(cpus().length);
setExactMatmul(true);
const began = clock();
const state = buildSwin(outDim, device);
const python = process.argv.includes('--alone')
  ? undefined
  : pythonWithTorch(['torch'], ['python3', '/usr/bin/python3']);
const peer =
  python === undefined
    ? undefined
    : await Peer.start(
        'train_step.py',
        { batch: batches[0], local: LOCAL, outDim, threads: cpus().length, device },
        {},
        python,
      );
console.log(`both sides are ready after ${(clock() - began).toFixed(0)} s`);
const parts = batches.flatMap((batch) => precisions.map((precision) => ({ batch, precision })));
const forPath = data === undefined ? 0 : Math.min(40, seconds / 3);
const until = clock() + seconds - forPath;
for (const [i, { batch, precision }] of parts.entries()) {
  const left = until - clock();
  if (left <= 0) break;
  await stepRow(peer, batch, precision, left / (parts.length - i));
}
await peer?.stop();
try {
  if (data !== undefined) await dataPath(data, precisions[0], batches[0], forPath);
} finally {
  print();
  save();
}
