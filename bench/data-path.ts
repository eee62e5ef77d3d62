/** How many pictures a second become crops for a network, beside torchvision? 2x224 + 8x96 crops, all colour steps. */

import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import {
  CropLoader,
  changesOf,
  cropJob,
  decode,
  dinoPlan,
  drawPhotometric,
  type ImageSource,
  nativeImage,
  networkInput,
  noChanges,
  openImages,
  type Picture,
  RandomStream,
  randomResizedCrop,
} from '../src/data/index.js';
import { COLOUR_FIELDS, JOB_FIELDS, writeColours, writeJob } from '../src/data/native-image.js';
import { scope, setThreads, tensor } from '../src/torch/index.js';
import { median, Peer, table } from './peer.js';

const LOCAL = 8;
const SEED = 0;

/** Milliseconds a picture in each stage, one after the other in this thread. */
type Stages = Record<'read' | 'decode' | 'crop' | 'colours' | 'tensor', number>;

const milliseconds = () => Number(process.hrtime.bigint()) / 1e6;

/** One epoch of the loader as training uses it; the result is its seconds. */
async function epoch(loader: CropLoader, number: number): Promise<{ seconds: number; images: number }> {
  const start = milliseconds();
  let images = 0;
  for await (const batch of loader.batches(number)) {
    scope(() => {
      for (const group of batch.groups) networkInput(group);
    });
    images += batch.indices.length;
  }
  return { seconds: (milliseconds() - start) / 1000, images };
}

/** The same work without workers, stage by stage. */
async function stages(source: ImageSource, images: number): Promise<Stages> {
  const plan = dinoPlan({ localCounts: [LOCAL] });
  const random = new RandomStream();
  const spent: Stages = { read: 0, decode: 0, crop: 0, colours: 0, tensor: 0 };
  const timed = <T>(stage: keyof Stages, work: () => T): T => {
    const start = milliseconds();
    const result = work();
    spent[stage] += (milliseconds() - start) / images;
    return result;
  };
  for (let i = 0; i < images; i++) {
    const bytes = timed('read', () => source.read(i)) as Uint8Array;
    const start = milliseconds();
    const picture: Picture = await decode(bytes);
    spent.decode += (milliseconds() - start) / images;
    let view = 0;
    for (const group of plan.groups) {
      const { size, views } = group;
      const crops = new Uint8Array(views * size * size * 3);
      const jobs = new Float64Array(views * JOB_FIELDS);
      const colours = new Float64Array(views * COLOUR_FIELDS);
      const draws = noChanges(views);
      timed('crop', () => {
        for (let k = 0; k < views; k++) {
          random.key(SEED, 0, i, view++);
          const box = randomResizedCrop(random, picture.height, picture.width, group.scale, plan.ratio);
          writeJob(jobs, k, cropJob(box, size, random.chance(plan.flip), k * size * size * 3));
        }
        nativeImage.imageResample(picture.data, picture.width, picture.height, jobs, crops);
      });
      timed('colours', () => {
        for (let k = 0; k < views; k++) {
          drawPhotometric(random, plan, group, k, draws, k);
          const place = { offset: k * size * size * 3, width: size, height: size };
          writeColours(colours, k, place, changesOf(draws, k));
        }
        nativeImage.imagePhotometric(crops, colours);
      });
      timed('tensor', () =>
        scope(() => {
          networkInput({ crops: tensor(crops).view([views, size, size, 3]), draws: noChanges(views) });
        }),
      );
    }
  }
  return spent;
}

/** Proportional share of the memory that processes of this machine hold, in bytes. */
function proportionalMemory(): number {
  const [, kilobytes] = /^Pss:\s+(\d+)/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

interface PeerRun {
  seconds: number;
  images: number;
  memory: number;
  peakRss: number;
}

export async function dataPathBench(options: {
  folder: string;
  batch: number;
  workers: number;
  rounds: number;
}): Promise<void> {
  const { folder, batch, workers, rounds } = options;
  // As PyTorch's does beside us: the cores belong to the workers, and parallel tensor code would wait for them.
  setThreads(1);
  const source = await openImages(folder);
  const plan = dinoPlan({ localCounts: [LOCAL] });
  const loader = new CropLoader({
    source,
    plan,
    seed: SEED,
    batchSize: batch,
    workers,
    photometric: 'workers',
  });
  const peer = await Peer.start('data_path.py', { folder, local: LOCAL, batch, workers });
  const mine: number[] = [];
  const theirs: number[] = [];
  let memory = 0;
  let peerRun: PeerRun = { seconds: 0, images: 0, memory: 0, peakRss: 0 };
  for (let round = -1; round < rounds; round++) {
    const own = await epoch(loader, round + 1);
    memory = Math.max(memory, proportionalMemory());
    const run = await peer.ask<PeerRun>('run');
    peerRun = { ...run, memory: Math.max(run.memory, peerRun.memory) };
    if (round < 0) continue; // warm-up
    mine.push(own.images / own.seconds);
    theirs.push(run.images / run.seconds);
  }
  const bad = loader.badImages.size;
  await loader.close();
  const peak = process.resourceUsage().maxRSS * 1024;
  const images = Math.min(source.length, 200);
  await stages(source, Math.min(images, 20));
  const own = await stages(source, images);
  const other = await peer.ask<Stages>('stages');
  await peer.stop();
  source.close();

  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
  const ratio = median(mine.map((rate, i) => rate / theirs[i]));
  const range = (values: number[]) => `${Math.min(...values).toFixed(1)}..${Math.max(...values).toFixed(1)}`;
  console.log(
    `${source.length} pictures (${bad} unreadable), 2x224 + ${LOCAL}x96, every colour step, batch ${batch}, ` +
      `${workers} workers on ${cpus().length} cores, ${rounds} rounds in turns\n`,
  );
  console.log(
    table([
      ['', 'images/s', 'lowest..highest', 'memory (PSS, MB)', 'peak RSS, summed (MB)'],
      [
        'torchvision + PIL',
        median(theirs).toFixed(1),
        range(theirs),
        megabytes(peerRun.memory),
        megabytes(peerRun.peakRss),
      ],
      ['esvit', median(mine).toFixed(1), range(mine), megabytes(memory), megabytes(peak)],
      [
        'ratio',
        `${ratio.toFixed(2)}x`,
        '',
        `${(memory / peerRun.memory).toFixed(2)}x`,
        `${(peak / peerRun.peakRss).toFixed(2)}x`,
      ],
    ]),
  );
  const names: readonly (keyof Stages)[] = ['read', 'decode', 'crop', 'colours', 'tensor'];
  const total = (s: Stages) => names.reduce((sum, name) => sum + s[name], 0);
  const row = (label: string, s: Stages) => [
    label,
    ...names.map((name) => s[name].toFixed(2)),
    total(s).toFixed(2),
  ];
  console.log(`\nMilliseconds a picture in one thread`);
  console.log(
    table([
      ['', 'read', 'decode', 'crop', 'colours', 'tensor', 'sum'],
      row('torchvision + PIL', other),
      row('esvit', own),
      [
        'ratio',
        ...names.map((name) => `${(other[name] / own[name]).toFixed(1)}x`),
        `${(total(other) / total(own)).toFixed(1)}x`,
      ],
    ]),
  );
}

const argument = (name: string) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};
const number = (name: string, fallback: number) => Number(argument(name) ?? fallback);

const folder = argument('data');
if (folder === undefined) {
  console.error('usage: tsx bench/data-path.ts --data FOLDER [--batch 4] [--workers N] [--rounds 5]');
  process.exitCode = 2;
} else {
  await dataPathBench({
    folder,
    batch: number('batch', 4),
    workers: number('workers', cpus().length),
    rounds: number('rounds', 5),
  });
}
