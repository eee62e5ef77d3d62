/** Counts of cost against published ones, the figure, and `esvit profile` from the outside. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { profile } from '../../src/cli/profile.js';
import { scatterChart } from '../../src/draw/index.js';
import { buildBackbone } from '../../src/models/index.js';
import { Conv2d, Linear, withoutInitialisation } from '../../src/nn/index.js';
import { countCost, type NetworkProfile } from '../../src/profile/index.js';
import { inferenceMode, randn, scope, setThreads } from '../../src/torch/index.js';
import { run } from '../cli/harness.js';
import { esvit } from '../e2e/cli.js';

setThreads(1);

const folder = mkdtempSync(join(tmpdir(), 'esvit-profile-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const count = (forward: () => unknown) => inferenceMode(() => scope(() => countCost(() => void forward())));

describe('cost', () => {
  it('of single layers is that of their formulas', () => {
    const x = randn([3, 5, 8]).keep();
    const linear = new Linear(8, 7);
    expect(count(() => linear.forward(x))).toEqual({ multiplyAdds: 3 * 5 * 8 * 7, activations: 3 * 5 * 7 });
    expect(count(() => x.matmul(x.transpose(1, 2)))).toEqual({
      multiplyAdds: 3 * 5 * 5 * 8,
      activations: 75,
    });
    const conv = new Conv2d(6, 4, 3, { stride: 2, padding: 1, groups: 2 });
    expect(count(() => conv.forward(randn([2, 6, 9, 7])))).toEqual({
      multiplyAdds: 2 * 4 * 5 * 4 * (3 * 3 * 3),
      activations: 2 * 4 * 5 * 4,
    });
    expect(count(() => x.add(1).softmax(-1)).multiplyAdds).toBe(0);
  });

  // Published for 224 pixels with one multiply-add counted as one; a classifier of 1000 classes is not in ours.
  it.each([
    ['resnet50', 4.09],
    ['swin_tiny', 4.5],
    ['deit_tiny', 1.3],
  ])('of %s is about %d G', (arch, published) => {
    const backbone = withoutInitialisation(() => buildBackbone({ arch })).eval();
    const { multiplyAdds } = count(() => backbone.forwardFeatures(randn([1, 3, 224, 224])));
    expect(Math.abs(multiplyAdds / 1e9 / published - 1)).toBeLessThan(0.05);
  });
});

it('a scatter chart names every point, and keeps the names apart', () => {
  const points = [20, 21, 22, 23, 80].map((x, i) => ({
    x,
    y: 100 + i,
    text: `network ${i}`,
    group: `g${i % 2}`,
  }));
  const { svg } = scatterChart(points, { title: 'Speed', x: 'size', y: 'images/s' });
  const places = points.map(({ text }) => {
    const [, x, y] = new RegExp(`<text x="([\\d.]+)" y="([\\d.]+)"[^>]*>${text}<`).exec(svg) ?? [];
    return [Number(x), Number(y)];
  });
  for (const [i, [x, y]] of places.entries())
    for (const [otherX, otherY] of places.slice(i + 1))
      expect(Math.abs(x - otherX) > 50 || Math.abs(y - otherY) > 10).toBe(true);
});

describe('esvit profile', () => {
  const quick = ['--image_size', '32', '--batch_size', '1', '--rounds', '1', '--threads', '1'];

  it('measures one network, and the overrides of its spec', async () => {
    const { code, out } = await run(
      profile,
      'profile',
      'resnet18',
      ...quick,
      '--json',
      'MODEL.SPEC.WIDTH',
      '4',
    );
    expect(code).toBe(0);
    const [network] = (JSON.parse(out) as { networks: NetworkProfile[] }).networks;
    const full = withoutInitialisation(() => buildBackbone({ arch: 'resnet18', spec: { WIDTH: 4 } }));
    expect(network.parameters).toBe(full.parameters().reduce((sum, { numel }) => sum + numel, 0));
    expect(network.forward.imagesPerSecond).toBeGreaterThan(0);
    expect(network.training.peakMemory).toBeGreaterThanOrEqual(network.forward.peakMemory ?? 0);
  });

  it('compares several, each in a process of its own, with figure, page and published accuracies', async () => {
    const [figure, report] = [join(folder, 'speed.svg'), join(folder, 'speed.html')];
    const { code, stdout, stderr } = await esvit([
      ...[
        'profile',
        'deit_tiny',
        'configs/demo/scenes.yaml',
        '--paper',
        '--figure',
        figure,
        '--report',
        report,
      ],
      ...quick,
    ]);
    expect(stderr).not.toMatch(/Error/);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^deit_tiny +5\.5 M/m);
    expect(stdout).toMatch(/^scenes +0\.\d M/m);
    expect(stdout).toMatch(/^EsViT Swin-T, W=7 +28 M +78\.0% +75\.7%$/m);
    expect(readFileSync(figure, 'utf8')).toContain('deit_tiny');
    expect(readFileSync(report, 'utf8')).toMatch(/Not measured here\. Source: Li et al\./);
  }, 300_000);

  it.each([
    [['swin_tinny'], /unknown architecture 'swin_tinny'.*'swin_tiny'/],
    [[], /Which networks\?/],
    [
      ['swin_tiny', '--figure', 'speed.jpg'],
      /--figure speed\.jpg: expected a file that ends in \.svg or \.png/,
    ],
    [['resnet18', 'MODEL.SPEC.WIDHT', '4'], /WIDHT.*'WIDTH'/],
  ])('%j ends with a sentence', async (words, message) => {
    const { code, err } = await run(profile, 'profile', ...words);
    expect(code).toBe(2);
    expect(err).toMatch(message);
  });
});
