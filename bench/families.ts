/**
 * Does every family of networks learn? 64 steps of both tasks on drawn pictures through `esvit train`, each family once:
 * `npx tsx bench/families.ts [--steps N] [--only NAME,...]`.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeSampleData } from '../src/data/scenes/index.js';
import { table } from './peer.js';

/** Small networks for pictures of 64 pixels, as fields of MODEL.SPEC. */
const NETWORKS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  swin_tiny: { DIM_EMBED: 32, DEPTHS: [2, 2, 2], NUM_HEADS: [1, 2, 4], WINDOW_SIZE: 4 },
  cvt_tiny: { NUM_STAGES: 3, DIM_EMBED: [32, 64, 128], NUM_HEADS: [1, 2, 4], DEPTH: [1, 2, 2] },
  resnet18: { WIDTH: 16 },
  deit_tiny: { PATCH_SIZE: 8, EMBED_DIM: 96, DEPTH: 6, NUM_HEADS: 3 },
  vil: {
    MSVIT: {
      ARCH: 'l1,h1,d32,n1,p4,f4,a0_l2,h2,d64,n2,p2,f4,a0_l3,h4,d128,n2,s0,g0,p2,a0',
      MODE: 1,
      VIL_MODE_SWITCH: 0.75,
    },
  },
};

const SETTINGS = {
  precision: 'fp32',
  global_crops_size: 64,
  global_crops_scale: [0.5, 1],
  local_crops_size: [32],
  local_crops_number: [2],
  local_crops_scale: [0.2, 0.5],
  out_dim: 256,
  head_hidden_dim: 128,
  head_bottleneck_dim: 64,
  use_bn_in_head: 'True',
  batch_size_per_gpu: 32,
  lr: 0.008,
  warmup_epochs: 0,
  freeze_last_layer: 0,
  momentum_teacher: 0.98,
};

/** Steps at either end over which the loss is averaged. */
const ENDS = 8;

const argument = (name: string) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};
const steps = Number(argument('steps') ?? 64);
const wanted = argument('only')?.split(',') ?? Object.keys(NETWORKS);

const folder = mkdtempSync(join(tmpdir(), 'esvit-families-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const pictures = join(folder, 'pictures');
await makeSampleData(pictures, { perClass: 64, valPerClass: 2, size: 64, seed: 0 });

const rows = wanted.map((arch) => {
  const run = join(folder, arch);
  const flags = Object.entries(SETTINGS).flatMap(([name, value]) => [
    `--${name}`,
    ...[value].flat().map(String),
  ]);
  const spec = Object.entries(NETWORKS[arch]).flatMap(([field, value]) => [
    `MODEL.SPEC.${field}`,
    JSON.stringify(value),
  ]);
  const command = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
  const start = performance.now();
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      ...['--import', 'tsx', command, 'train', '--arch', arch, '--data_path', join(pictures, 'train')],
      ...['--output_dir', run, '--defaults', 'auto', '--quiet', '--epochs', '8'],
      ...['--max_iterations', String(steps), ...flags, ...spec],
    ],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`${arch}: ${stderr}`);
  const losses = readFileSync(join(run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { loss: number }).loss);
  const mean = (part: number[]) => part.reduce((sum, loss) => sum + loss, 0) / part.length;
  const [first, last] = [mean(losses.slice(0, ENDS)), mean(losses.slice(-ENDS))];
  return { arch, steps: losses.length, first, last, seconds: (performance.now() - start) / 1000 };
});

console.log(`Both tasks, 2x64 + 2x32 crops, batch ${SETTINGS.batch_size_per_gpu}; means over ${ENDS} steps`);
console.log(
  table([
    ['', 'steps', 'first loss', 'last loss', 'seconds'],
    ...rows.map(({ arch, steps, first, last, seconds }) => [
      arch,
      String(steps),
      first.toFixed(3),
      last.toFixed(3),
      seconds.toFixed(0),
    ]),
  ]),
);
if (rows.some(({ first, last }) => !(last < first))) {
  console.log('Not every loss has fallen.');
  process.exitCode = 1;
}
