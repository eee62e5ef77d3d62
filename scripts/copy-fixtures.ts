/**
 * Makes test/fixtures/golden: a selection of golden cases, small enough to be kept with the code.
 *
 *     npx tsx scripts/copy-fixtures.ts <golden folder>
 */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Entry {
  readonly name: string;
  readonly files: readonly string[];
}

/** What is taken of a case. */
interface Choice {
  readonly name: string;
  /** endings of files that are too large to keep; the case runs without them, and compares less */
  readonly without?: readonly string[];
}

/** No photographs: cases of pictures and data sets stay where they were made. */
const CHOICES: readonly Choice[] = [
  { name: 'arch/swin_tiny_w7' },
  { name: 'arch/cvt_s1_rpe' },
  { name: 'arch/cvt_s1_shift' },
  { name: 'arch/cvt_tiny' },
  { name: 'arch/deit_tiny_16' },
  { name: 'arch/resnet50' },
  { name: 'arch/vil_1281' },
  { name: 'arch/vil_2262' },
  { name: 'checkpoint/basic.legacy' },
  { name: 'checkpoint/basic.zip' },
  { name: 'checkpoint/hostile' },
  { name: 'checkpoint/nested.legacy' },
  { name: 'checkpoint/nested.zip' },
  { name: 'checkpoint/parameters.legacy' },
  { name: 'checkpoint/parameters.zip' },
  { name: 'checkpoint/views.legacy' },
  { name: 'checkpoint/views.zip' },
  { name: 'graph/deit_dense' },
  { name: 'graph/swin_dense' },
  { name: 'knn/c10' },
  { name: 'linear/c10' },
  { name: 'loss/ddino_5crops' },
  { name: 'loss/dino_2crops' },
  { name: 'loss/dino_6crops' },
  { name: 'loss/dino_mixup' },
  { name: 'schedule/linear_lr_10' },
  { name: 'schedule/linear_lr_100' },
  { name: 'schedule/lr_allwarm_but1' },
  { name: 'schedule/lr_imagenet' },
  { name: 'schedule/lr_nowarm' },
  { name: 'schedule/lr_small' },
  { name: 'schedule/lr_startwarm' },
  { name: 'schedule/momentum' },
  { name: 'schedule/temp_all' },
  { name: 'schedule/temp_default' },
  { name: 'schedule/temp_warm' },
  { name: 'schedule/temp_warm1' },
  { name: 'schedule/wd' },
  // Its crops and its start serve swin_sgd too. Without the later states its curves are compared, not its end.
  { name: 'trajectory/swin_adamw', without: ['.epoch2.pth', '.epoch4.pth'] },
  { name: 'trajectory/swin_sgd' },
  { name: 'vil_attn/norpe_g2_pad' },
  { name: 'vil_attn/rpe_g0_small' },
  { name: 'vil_attn/rpe_g1' },
];

const MOST_BYTES = 5_000_000;

const [source] = process.argv.slice(2);
if (source === undefined) throw new Error('give the folder with the golden cases and their manifest.json');
const target = fileURLToPath(new URL('../test/fixtures/golden', import.meta.url));

const manifest = JSON.parse(readFileSync(join(source, 'manifest.json'), 'utf8')) as {
  format: number;
  cases: Entry[];
};
const cases = CHOICES.map(({ name, without = [] }) => {
  const found = manifest.cases.find((entry) => entry.name === name);
  if (found === undefined) throw new Error(`${source} has no case ${name}`);
  return { ...found, files: found.files.filter((file) => !without.some((end) => file.endsWith(end))) };
});

rmSync(target, { recursive: true, force: true });
let bytes = 0;
for (const file of new Set(cases.flatMap(({ files }) => files))) {
  const content = readFileSync(join(source, file));
  mkdirSync(dirname(join(target, file)), { recursive: true });
  // Not a copy of the file: that would take over its rights, which may be read-only.
  writeFileSync(join(target, file), content);
  bytes += content.byteLength;
}
const text = `${JSON.stringify({ format: manifest.format, cases }, null, 1)}\n`;
writeFileSync(join(target, 'manifest.json'), text);
bytes += text.length;
console.log(`${cases.length} cases, ${(bytes / 1e6).toFixed(2)} MB in ${target}`);
if (bytes > MOST_BYTES)
  throw new Error(`that is more than ${MOST_BYTES / 1e6} MB; choose fewer or smaller cases`);
