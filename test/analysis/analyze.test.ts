/** `esvit analyze` on small networks and drawn pictures: what it writes, and what it says of mistakes. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { matchPair, measurePairs, mirroredView, readPicture } from '../../src/analysis/index.js';
import { analyze } from '../../src/cli/analyze.js';
import { makePairs, makeSampleData, readPairs } from '../../src/data/scenes/index.js';
import { blank } from '../../src/draw/index.js';
import type { Features } from '../../src/models/index.js';
import { run as runCommand } from '../cli/harness.js';
import { microBackbone } from '../ssl/micro.js';

const folder = mkdtempSync(join(tmpdir(), 'esvit-analyze-'));
const at = (...names: string[]) => join(folder, ...names);
const SPEC = [
  '--arch',
  'swin',
  '--image_size',
  '32',
  'MODEL.NAME',
  'swin_transformer',
  'MODEL.SPEC.DIM_EMBED',
  '8',
].concat(['MODEL.SPEC.DEPTHS', '[2,1]', 'MODEL.SPEC.NUM_HEADS', '[2,4]', 'MODEL.SPEC.WINDOW_SIZE', '4']);
const network = [...SPEC.slice(0, 4)];
const overrides = SPEC.slice(4);

beforeAll(async () => {
  await makeSampleData(at('set'), { classes: ['bird', 'boat'], perClass: 3, valPerClass: 1, size: 32 });
  await makePairs(at('pairs'), { pairs: 3, size: 64, seed: 1, variation: 1 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const run = (...flags: string[]) =>
  runCommand(analyze as never, 'analyze', ...flags, ...network, ...overrides);
const picture = () => at('set', 'train', 'bird', 'bird-00000.png');

describe('esvit analyze', () => {
  it('draws all of one picture and measures over a set and over pairs, into one self-contained report', async () => {
    const out = at('out');
    const { code, err } = await run(
      ...['--image_path', picture(), '--data_path', at('set'), '--pairs', at('pairs'), '--output_dir', out],
    );
    expect(err).not.toContain('error');
    expect(code).toBe(0);
    const files = readdirSync(out);
    for (const name of [
      'attention-block01-query-0.50-0.50.png',
      'attention-block02-query-0.50-0.50.svg',
      'mask-block02-query-0.50-0.50.png',
      'correspondence.png',
      'components.png',
      'entropy.svg',
      'view2.png',
      'correspondence-between-scenes-1.png',
      'correspondence-with-mirrored-views-1.png',
    ])
      expect(files).toContain(name);
    const page = readFileSync(join(out, 'report.html'), 'utf8');
    expect(page).not.toMatch(/(?:src|href)="(?!data:|#)/);
    const numbers = JSON.parse(readFileSync(join(out, 'analysis.json'), 'utf8'));
    expect(numbers['Attention entropy'].entropy.map((heads: number[]) => heads.length)).toEqual([2, 2, 4]);
    for (const heads of numbers['Attention entropy'].entropy)
      for (const bits of heads) expect(bits).toBeLessThanOrEqual(4.0001); // 16 regions a window
    expect(numbers['Correspondence between scenes'].pictures).toBe(3);
    expect(numbers['Correspondence with mirrored views'].pictures).toBe(6);
  });

  it('draws similarity and nearest regions, and takes a saved second view', async () => {
    const out = at('out2');
    const flags = ['--image_path', picture(), '--output_dir', out];
    expect((await run(...flags, '--vis_correspondence')).code).toBe(0);
    const view = readFileSync(join(out, 'view2.png'));
    const again = await run(
      ...flags,
      ...['--vis_correspondence', '--use_saved_aug', '--seed', '9', '--similarity', '0.2,0.8'],
      ...['--nearest_regions', '0.2,0.8', '--data_path', at('set'), '--count', '4'],
    );
    expect(again.code).toBe(0);
    expect(readFileSync(join(out, 'view2.png'))).toEqual(view);
    expect(readdirSync(out)).toEqual(
      expect.arrayContaining(['similarity-0.20-0.80.png', 'nearest-regions-0.20-0.80.png']),
    );
    const { nearest } = JSON.parse(readFileSync(join(out, 'analysis.json'), 'utf8'))['Nearest regions'];
    expect(nearest).toHaveLength(4);
    // The picture itself is in the set: its own region is the nearest.
    expect(nearest[0].name).toContain('bird-00000.png');
    expect(nearest[0].similarity).toBeCloseTo(1, 4);
  });

  it('says what is missing', async () => {
    for (const [flags, words] of [
      [[], 'Nothing to look at'],
      [['--vis_attention'], '--vis_attention needs --image_path'],
      [['--image_path', at('none.png')], 'cannot be read'],
      [['--image_path', picture(), '--similarity', '2,0'], 'expected a place'],
      [['--image_path', picture(), '--vis_attention', '--blocks', '7'], 'has blocks 0 to 2'],
      [['--image_path', picture(), '--vis_attention', '--query', 'class'], 'no class token'],
      [['--measure_correspondence', '--pairs', at('set')], 'pairs.json cannot be read'],
    ] as [string[], string][]) {
      const { code, err } = await run(...flags, '--output_dir', at('bad'));
      expect(code).toBeGreaterThan(0);
      expect(err).toContain(words);
    }
  });
});

describe('pairs of drawn views', () => {
  it('map the middle of one view onto what the other shows there', async () => {
    // A network whose features are the place in the scene itself finds every region that both views show.
    const size = 64;
    for (const { first, second, map } of readPairs(at('pairs'))) {
      const [left, right] = [
        await readPicture(first, size, 'whole'),
        await readPicture(second, size, 'whole'),
      ];
      expect(left.width).toBe(size);
      expect(right.data.length).toBe(size * size * 3);
      const [a, b, c] = [map([0, 0]), map([1, 0]), map([0, 1])];
      const area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
      expect(Math.abs(area)).toBeGreaterThan(0.5); // zooms by 0.85 to 1.45 a side
      expect(Math.abs(area)).toBeLessThan(2.4);
    }
  });

  it('name only files beside their list', () => {
    writeFileSync(
      at('pairs.json'),
      JSON.stringify({
        format: 1,
        size: 8,
        pairs: [{ first: '../a.png', second: 'b.png', class: 'x', map: [1, 0, 0, 1, 0, 0] }],
      }),
    );
    expect(() => readPairs(folder)).toThrow('pairs.0.first');
  });
});

describe('second views', () => {
  const shaded = { ...blank(16, 16), data: Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => i % 251) };

  it('are grey, mirrored, and the same for the same seed', () => {
    const one = mirroredView(shaded, 5, 2);
    expect(one.data).toEqual(mirroredView(shaded, 5, 2).data);
    expect(one.data).not.toEqual(mirroredView(shaded, 6, 2).data);
    for (let i = 0; i < one.data.length; i += 3) expect(new Set(one.data.subarray(i, i + 3)).size).toBe(1);
    const half = blank(4, 1, [0, 0, 0]);
    half.data.fill(255, 0, 6);
    const grey = mirroredView(half, 1).data;
    expect(grey[0]).toBeLessThan(grey[9]);
  });

  it('are matched rightly by features that know their place', async () => {
    const backbone = microBackbone();
    const subject = { backbone, device: 'cpu', imageSize: 16 } as const;
    const before = matchPair(subject, shaded, shaded);
    expect(before.ranked.every(({ query, match }) => query === match)).toBe(true);
    const features: Features['grid'] = before.grid;
    expect(features).toEqual([2, 2]);
    const result = await measurePairs(
      subject,
      (async function* () {
        yield { name: 'itself', left: shaded, right: shaded, map: (place) => place };
        yield { unreadable: 'broken.png' };
      })(),
      { title: 'Itself', truth: 'itself', tolerance: 0 },
    );
    expect(result.numbers).toMatchObject({
      accuracy: 1,
      distance: 0,
      pictures: 1,
      unreadable: ['broken.png'],
    });
  });
});
