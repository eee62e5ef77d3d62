/**
 * How would a run scale to more GPUs? A simulation of the exchange of gradients with a stated model, no measurement:
 * `tsx bench/scaling.ts [--name value]...`; docs/scaling.md explains the model and lists the names.
 */

import { fileURLToPath } from 'node:url';

/** The numbers of the model; all but the first five follow from the hardware. */
export interface Cluster {
  /** seconds of forward and optimiser of one step on one GPU, and of backward */
  forward: number;
  backward: number;
  /** pictures of a GPU in a step */
  batch: number;
  /** million parameters whose gradients are sent */
  parameters: number;
  /** bytes of a number on its way */
  wire: number;
  /** MB of a bucket; the first one has 1 */
  bucket: number;
  /** GPUs of a machine */
  perNode: number;
  /** GB/s of a GPU to the others of its machine, and of a machine to other machines (shared by its GPUs) */
  local: number;
  network: number;
  /** microseconds of a hop inside of a machine, and between machines */
  localLatency: number;
  networkLatency: number;
  /** small collectives of a step that are waited for (centres, losses), of so many KB each */
  small: number;
  smallKb: number;
}

export const DEFAULTS: Cluster = {
  forward: 0.15,
  backward: 0.25,
  batch: 64,
  parameters: 50,
  wire: 4,
  bucket: 25,
  perNode: 8,
  local: 100,
  network: 12.5,
  localLatency: 5,
  networkLatency: 20,
  small: 3,
  smallKb: 256,
};

/** Seconds of an all-reduce of `megabytes` over `gpus`, as a ring whose slowest link sets the pace. */
export function allReduceSeconds(megabytes: number, gpus: number, cluster: Cluster): number {
  if (gpus === 1) return 0;
  const isWide = gpus > cluster.perNode;
  // A ring crosses each machine's network card once each way, whatever the number of its GPUs.
  const gigabytes = isWide ? Math.min(cluster.local, cluster.network) : cluster.local;
  const hops = 2 * (gpus - 1);
  const latency = isWide
    ? (2 * (gpus / cluster.perNode - 1) * cluster.networkLatency +
        2 * (cluster.perNode - 1) * cluster.localLatency) /
      1e6
    : (hops * cluster.localLatency) / 1e6;
  return (hops / gpus) * (megabytes / 1000 / gigabytes) + latency;
}

/** Seconds of a step: buckets are sent one after the other, each as soon as backward has filled it. */
export function stepSeconds(
  gpus: number,
  cluster: Cluster,
): { step: number; exchange: number; hidden: number } {
  const total = cluster.parameters * cluster.wire;
  let filled = 0;
  let free = 0;
  let exchange = 0;
  while (filled < total) {
    const size = Math.min(filled === 0 ? 1 : cluster.bucket, total - filled);
    filled += size;
    const ready = cluster.backward * (filled / total);
    const seconds = allReduceSeconds(size, gpus, cluster);
    free = Math.max(free, ready) + seconds;
    exchange += seconds;
  }
  const waited = Math.max(0, free - cluster.backward);
  const small = cluster.small * allReduceSeconds(cluster.smallKb / 1000, gpus, cluster);
  return {
    step: cluster.forward + cluster.backward + waited + small,
    exchange,
    hidden: exchange === 0 ? 1 : 1 - waited / exchange,
  };
}

function main(argv: readonly string[]): void {
  const cluster: Cluster = { ...DEFAULTS };
  for (let i = 0; i < argv.length; i += 2) {
    const name = argv[i].replace(/^--/, '') as keyof Cluster;
    if (!(name in cluster) || !Number.isFinite(Number(argv[i + 1])))
      throw new Error(`unknown ${argv[i]} ${argv[i + 1]}; the names are ${Object.keys(cluster).join(', ')}`);
    cluster[name] = Number(argv[i + 1]);
  }
  console.log(
    Object.entries(cluster)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
  );
  console.log('| GPUs | step, s | exchange, s | hidden | images/s | efficiency |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  const one = stepSeconds(1, cluster).step;
  for (const gpus of [1, 2, 4, 8, 16, 32, 64]) {
    const { step, exchange, hidden } = stepSeconds(gpus, cluster);
    console.log(
      `| ${gpus} | ${step.toFixed(3)} | ${exchange.toFixed(3)} | ${(100 * hidden).toFixed(0)}% | ${((gpus * cluster.batch) / step).toFixed(0)} | ${((100 * one) / step).toFixed(0)}% |`,
    );
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.slice(2));
