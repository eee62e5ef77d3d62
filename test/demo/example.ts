/** A report's data with made-up numbers and drawn pictures, shaped like those of a real run. */

import {
  describeScene,
  OBJECT_CLASSES,
  otherView,
  pixelMap,
  plainView,
  renderScene,
} from '../../src/data/scenes/index.js';
import type { CorrespondencePanel, Curve, NeighbourRow, ReportData } from '../../src/demo/report-data.js';
import type { Picture } from '../../src/draw/index.js';

const picture = (name: (typeof OBJECT_CLASSES)[number], seed: string | number, size = 64): Promise<Picture> =>
  renderScene(describeScene(name, seed, 0.6), { size, view: plainView(seed, 0.6) });

/** A deterministic stand-in for noise. */
const noise = (i: number): number => Math.sin(i * 12.9898) * 0.5 + Math.sin(i * 78.233) * 0.5;

function curve(count: number, step: number, value: (share: number, i: number) => number): Curve {
  const x = Array.from({ length: count }, (_, i) => i * step);
  return { x, y: x.map((_, i) => value(i / count, i)) };
}

export async function exampleReport(): Promise<ReportData> {
  const crops = [];
  for (const [i, name] of OBJECT_CLASSES.slice(0, 6).entries()) {
    const views = [];
    for (let v = 0; v < 8; v++)
      views.push(
        await renderScene(describeScene(name, i, 0.6), {
          size: v < 2 ? 64 : 32,
          view: otherView(`${i}/${v}`),
        }),
      );
    crops.push({ views });
  }
  const neighbours: NeighbourRow[] = [];
  for (const [row, name] of OBJECT_CLASSES.slice(0, 8).entries()) {
    const found = [];
    for (let i = 0; i < 7; i++) {
      const label = (row * 7 + i) % 5 === 3 ? OBJECT_CLASSES[(row + i) % 10] : name;
      found.push({
        picture: await picture(label, `n${row}/${i}`),
        label,
        similarity: 0.94 - i * 0.03 - row * 0.01,
      });
    }
    neighbours.push({ query: { picture: await picture(name, `q${row}`), label: name }, neighbours: found });
  }
  return {
    title: 'EsViT demo: a small Swin learns from pictures without labels',
    trainSeconds: 187.4,
    trainPictures: 2000,
    iterations: 620,
    outDim: 1024,
    knn: {
      k: 20,
      bankSize: 2000,
      querySize: 500,
      classes: 10,
      rawPixels: { name: 'raw pixels', top1: 12.2, top5: 55.4 },
      untrained: { name: 'untrained network', top1: 18.6, top5: 64.2 },
      trained: { name: 'trained network', top1: 51.4, top5: 88.8 },
    },
    health: { verdict: 'healthy' },
    curves: {
      loss: curve(620, 1, (t, i) => 2.6 + 4.2 * Math.exp(-t * 3) + 0.12 * noise(i)),
      viewLoss: curve(620, 1, (t, i) => 2.9 + 3.9 * Math.exp(-t * 2.6) + 0.14 * noise(i + 5)),
      regionLoss: curve(620, 1, (t, i) => 2.2 + 4.5 * Math.exp(-t * 3.4) + 0.1 * noise(i + 9)),
      teacherEntropy: curve(62, 10, (t, i) => 2.1 + 4.6 * Math.exp(-t * 4) + 0.05 * noise(i)),
      studentEntropy: curve(62, 10, (t, i) => 2.6 + 4.2 * Math.exp(-t * 3) + 0.05 * noise(i + 3)),
      kl: curve(62, 10, (t, i) => 0.3 + 0.9 * t * Math.exp(-2 * t) + 0.03 * noise(i)),
      featureStd: curve(62, 10, (t, i) => 0.02 + 0.03 * t + 0.001 * noise(i)),
      effectiveRank: curve(62, 10, (t, i) => 14 + 40 * t + noise(i)),
      gradientNorm: curve(620, 1, (t, i) => (0.3 + 2 * Math.exp(-6 * t)) * (1.2 + 0.6 * noise(i))),
      lr: curve(620, 1, (t) => 0.001 * Math.min(1, t * 8) * (0.5 + 0.5 * Math.cos(Math.PI * t))),
      momentum: curve(620, 1, (t) => 1 - 0.01 * (0.5 + 0.5 * Math.cos(Math.PI * t))),
      imagesPerSecond: curve(620, 1, (t, i) => 118 * Math.min(1, 0.6 + t * 20) + 6 * noise(i)),
    },
    crops,
    neighbours,
    correspondences: [
      await panel('bird', 'The untrained network.', 0.3),
      await panel('bird', 'The trained network.', 0.85),
    ],
    config: 'ARCH: swin\nMODEL:\n  SPEC:\n    EMBED_DIM: 48\n    WINDOW_SIZE: 4\nout_dim: 1024\nseed: 0',
    command: 'npx esvit demo --seed 0',
    facts: [
      ['Speed', '118 images/s'],
      ['Device', 'CPU, 2 threads'],
      ['libtorch', '1.13.1'],
      ['Network', 'Swin, 2.1 M parameters'],
    ],
  };
}

/** Matches of an 8 × 8 grid of regions; a share of them lands where the geometry says. */
async function panel(name: 'bird', caption: string, share: number): Promise<CorrespondencePanel> {
  const scene = describeScene(name, 11, 0.5);
  const [first, second] = [plainView(11, 0.5), otherView(12, 0.8)];
  const [left, right] = [
    await renderScene(scene, { size: 96, view: first }),
    await renderScene(scene, { size: 96, view: second }),
  ];
  const map = pixelMap(first, second, 1);
  const matches = [];
  for (let i = 0; i < 64; i++) {
    const from = [((i % 8) + 0.5) / 8, (Math.floor(i / 8) + 0.5) / 8] as const;
    const there = map(from[0], from[1]);
    if (there.some((v) => v < 0 || v > 1)) continue;
    const right = ((i * 37) % 64) / 64 < share;
    const to = right ? there : ([((i * 5) % 8) / 8 + 0.06, ((i * 3) % 8) / 8 + 0.06] as [number, number]);
    matches.push({ from, to, similarity: (right ? 0.8 : 0.45) + 0.15 * noise(i) });
  }
  return { left, right, matches, caption, accuracy: share };
}
