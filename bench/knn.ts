/**
 * How fast is weighted k-NN, and in how much memory? 50,000 x 10,000 features of 768 dimensions by the built package
 * and by the published algorithm in PyTorch (bench/peer/knn.py), each in a process of its own, in turns.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { dumpFeatures } from '../src/eval/index.js';
import { inferenceMode, manualSeed, randint, randn, scope, setThreads } from '../src/torch/index.js';
import { median, Peer, table } from './peer.js';

const CLASSES = 1000;
const WIDTH = 768;

const number = (name: string, fallback: number) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};

interface Answer {
  seconds: number;
  top1: number[];
  top5: number[];
  peakRss: number;
}

/** The built package without its picture reader, which k-NN on loaded features has no use for; tsx would count too. */
const OURS = `
import { createInterface } from 'node:readline';
const { knnAccuracy } = await import(process.argv[1] + '/eval/knn.js');
const { loadFeatures } = await import(process.argv[1] + '/eval/feature-store.js');
const { setThreads } = await import(process.argv[1] + '/torch/index.js');
setThreads(Number(process.argv[3]));
const { bank, queries } = await loadFeatures(process.argv[2]);
console.log('"ready"');
for await (const line of createInterface({ input: process.stdin })) {
  const start = performance.now();
  const found = knnAccuracy(bank, queries, { ks: JSON.parse(line), temperatures: [0.07], numClasses: ${CLASSES} });
  const seconds = (performance.now() - start) / 1000;
  const [top1, top5] = ['top1', 'top5'].map((name) => found.map((one) => one[name]));
  console.log(JSON.stringify({ seconds, top1, top5, peakRss: process.resourceUsage().maxRSS * 1024 }));
}`;

async function ours(folder: string, threads: number) {
  const dist = fileURLToPath(new URL('../dist', import.meta.url));
  const child = spawn(process.execPath, ['--input-type=module', '-e', OURS, dist, folder, String(threads)]);
  child.stderr.pipe(process.stderr);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error('our process ended before it answered; is dist/ built?');
    return JSON.parse(value) as unknown;
  };
  await answer();
  return {
    ask: async (line: string) => {
      child.stdin.write(`${line}\n`);
      return (await answer()) as Answer;
    },
    stop: async () => {
      const gone = once(child, 'exit');
      child.stdin.end();
      await gone;
    },
  };
}

/** Clouds around the classes' means, wide enough for neighbours of other classes. */
function features(count: number, seed: number) {
  return scope(() =>
    inferenceMode(() => {
      manualSeed(0);
      const means = randn([CLASSES, WIDTH]);
      manualSeed(seed);
      const labels = randint(0, CLASSES, [count]).to({ dtype: 'int64' });
      const points = means.indexSelect(0, labels).add_(randn([count, WIDTH]).mul_(5));
      return { features: points.div_(points.norm(2, [1], true)), labels };
    }),
  );
}

const threads = cpus().length;
const rounds = number('rounds', 1);
const [bankRows, queryRows] = [number('bank', 50_000), number('queries', 10_000)];
const folder = mkdtempSync(join(tmpdir(), 'esvit-knn-'));
try {
  setThreads(threads);
  scope(() => {
    const pair = { bank: features(bankRows, 1), queries: features(queryRows, 2) };
    dumpFeatures(folder, 'pth', pair);
    dumpFeatures(join(folder, 'npy'), 'npy', pair);
  });
  console.log(
    `${bankRows} x ${queryRows} features of ${WIDTH} dimensions, ${CLASSES} classes, ${threads} threads`,
  );
  const rows = [['', 'k', 'PyTorch s', 'esvit s', 'ratio', 'PyTorch MB', 'esvit MB', 'memory']];
  for (const ks of [[20], [200], [10, 20, 100, 200]]) {
    // Processes of their own for each question, so that each has its own peak.
    const mine = await ours(join(folder, 'npy'), threads);
    const peer = await Peer.start('knn.py', { folder, threads, classes: CLASSES });
    const [own, theirs]: [Answer[], Answer[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      own.push(await mine.ask(JSON.stringify(ks)));
      theirs.push(await peer.ask<Answer>(JSON.stringify(ks)));
    }
    await Promise.all([mine.stop(), peer.stop()]);
    const worst = Math.max(
      ...own[0].top1.map((value, i) => Math.abs(value - theirs[0].top1[i])),
      ...own[0].top5.map((value, i) => Math.abs(value - theirs[0].top5[i])),
    );
    const [a, b] = [theirs, own].map((answers) => median(answers.map(({ seconds }) => seconds)));
    const [m, n] = [theirs, own].map((answers) => Math.max(...answers.map(({ peakRss }) => peakRss)) / 1e6);
    const ratio = median(own.map(({ seconds }, i) => theirs[i].seconds / seconds));
    console.log(`k = ${ks.join(' ')}: ${a.toFixed(1)} s and ${b.toFixed(1)} s`); // while the rest is under way
    rows.push([
      `accuracies differ by ${worst.toFixed(3)}`,
      ks.join(' '),
      a.toFixed(1),
      b.toFixed(1),
      `${ratio.toFixed(1)}x`,
      m.toFixed(0),
      n.toFixed(0),
      `${(n / m).toFixed(2)}x`,
    ]);
  }
  console.log(table(rows));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
