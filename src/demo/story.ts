/** The demo: draw pictures, train on them without their labels, and show what came of it. */

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CropLoader, type ImageSource, openImages } from '../data/index.js';
import { makeSampleData } from '../data/scenes/index.js';
import { writeFileAtomic } from '../files.js';
import { type LogEntry, RunFolder, readEntries } from '../run/index.js';
import { torchInfo } from '../torch/index.js';
import {
  buildState,
  cropPlan,
  loadCheckpoint,
  loadExperiment,
  measureFacts,
  type PretrainEvents,
  type PretrainResult,
  pretrain,
  type Resolution,
  readRequest,
  resolveTrainConfig,
} from '../train/index.js';
import { type TrainOptions, trainOptions } from '../train/options.js';
import {
  describe,
  K,
  knnRow,
  matchRegions,
  nearestPictures,
  type PictureSets,
  release,
  viewPair,
} from './measure.js';
import { buildReport, reportPngs } from './report.js';
import type { CorrespondencePanel, CropRow, KnnRow, ReportData, TrainingCurves } from './report-data.js';

export interface DemoOptions {
  /** folder for pictures, run and report */
  output: string;
  seed: number;
  /** experiment file with the recipe */
  cfg: string;
  device: 'auto' | 'cpu' | 'cuda';
  /** training pictures and held-out ones of each class */
  perClass: number;
  valPerClass: number;
  /** also write each figure of the report as a PNG */
  figures: boolean;
}

export interface DemoEvents {
  onStage?(words: string): void;
  /** pictures done of a stage that draws or describes */
  onPictures?(done: number, total: number): void;
  training?: PretrainEvents;
}

export interface DemoResult {
  report: string;
  knn: { k: number; rawPixels: KnnRow; untrained: KnnRow; trained: KnnRow };
  /** share of regions matched with the right place, over several scenes, before and after training */
  regions: { untrained: number; trained: number };
  trainSeconds: number;
  result: PretrainResult;
}

const PICTURE_SIZE = 64;
const ROWS = 8;
const COLUMNS = 8;
/** Scenes over which region matching is measured; the first of them are drawn. */
const PAIRS = 30;
const PAIRS_SHOWN = 2;

/** Returns undefined when the training was interrupted. */
export async function runDemo(options: DemoOptions, events: DemoEvents): Promise<DemoResult | undefined> {
  const { output, seed } = options;
  events.onStage?.('drawing pictures of ten classes');
  const pictures = join(output, 'pictures');
  await makeSampleData(
    pictures,
    { perClass: options.perClass, valPerClass: options.valPerClass, size: PICTURE_SIZE, seed, habitat: 1 },
    (done, total) => events.onPictures?.(done, total),
  );
  const bank = await openImages(pictures);
  const queries = await openImages(pictures, { split: 'val', classes: bank.classes });
  // A demo starts anew each time: an interrupted one is not worth going on with.
  rmSync(join(output, 'run'), { recursive: true, force: true });
  mkdirSync(output, { recursive: true });
  const folder = RunFolder.open(join(output, 'run'));
  try {
    return await tell(options, events, { bank, queries }, pictures, folder);
  } finally {
    folder.close();
    bank.close();
    queries.close();
  }
}

async function tell(
  options: DemoOptions,
  events: DemoEvents,
  sets: PictureSets,
  pictures: string,
  folder: RunFolder,
): Promise<DemoResult | undefined> {
  const resolution = await settle(options, sets.bank, pictures, folder.path);
  const { config } = resolution;
  folder.writeConfig(config);
  const size = config.global_crops_size;
  const total = sets.bank.length + sets.queries.length;
  const progress = (done: number) => events.onPictures?.(done, total);

  events.onStage?.('k-NN with raw pixels and with the untrained network');
  const pixels = await describe(sets, PIXEL_SIDE, undefined, progress);
  const rawPixels = knnRow('raw pixels', pixels);
  release(pixels);
  const state = buildState(config);
  const { backbone } = state.teacher;
  backbone.eval();
  const before = await describe(sets, size, backbone, progress);
  const untrained = knnRow('untrained network', before);
  release(before);
  const pairs = await Promise.all(
    Array.from({ length: PAIRS }, (_, i) => viewPair(options.seed * PAIRS + i)),
  );
  const matchedBefore = pairs.map((pair) => matchRegions(backbone, pair));

  events.onStage?.('training without labels');
  const started = performance.now();
  const result = await pretrain(config, sets.bank, folder, events.training);
  const trainSeconds = (performance.now() - started) / 1000;
  if (result.status === 'stopped') return undefined;

  events.onStage?.('k-NN with the trained network');
  loadCheckpoint(folder.checkpointPath, state);
  backbone.eval();
  const after = await describe(sets, size, backbone, progress);
  const trained = knnRow('trained network', after);
  const matchedAfter = pairs.map((pair) => matchRegions(backbone, pair));
  const neighbours = await nearestPictures(sets, after, ROWS, COLUMNS);
  release(after);

  const correspondences: CorrespondencePanel[] = [];
  for (const [i, { left, right }] of pairs.slice(0, PAIRS_SHOWN).entries())
    correspondences.push(
      { left, right, ...matchedBefore[i], caption: 'The untrained network.' },
      { left, right, ...matchedAfter[i], caption: 'The trained network.' },
    );
  const share = (matched: typeof matchedAfter) =>
    matched.reduce((sum, { accuracy }) => sum + accuracy, 0) / matched.length;
  const regions = { untrained: share(matchedBefore), trained: share(matchedAfter) };
  const knn = {
    k: K,
    bankSize: sets.bank.length,
    querySize: sets.queries.length,
    classes: sets.bank.classes.length,
    rawPixels,
    untrained,
    trained,
  };
  const data: ReportData = {
    title: 'A small Swin learns from pictures without labels',
    trainSeconds,
    trainPictures: sets.bank.length,
    iterations: result.steps,
    outDim: config.out_dim,
    knn,
    health: { verdict: result.diagnosis?.verdict ?? 'not measured', ...hint(result) },
    curves: curvesOf(readEntries(folder.metricsPath)),
    crops: await cropRows(config, sets.bank),
    neighbours,
    correspondences,
    config: JSON.stringify(config, null, 2),
    command: `npx esvit demo --seed ${options.seed}`,
    facts: facts(resolution, result, state.student.backbone.parameters(), regions),
  };
  const report = join(options.output, 'report.html');
  writeFileAtomic(report, await buildReport(data));
  if (options.figures)
    for (const [name, bytes] of await reportPngs(data)) writeFileAtomic(join(options.output, name), bytes);
  return { report, knn, regions, trainSeconds, result };
}

/** Pixels are compared at this side: finer detail only makes shifted pictures more different. */
const PIXEL_SIDE = 32;

async function settle(
  { seed, cfg, device }: DemoOptions,
  source: ImageSource,
  pictures: string,
  outputDir: string,
): Promise<Resolution> {
  const { value: experiment } = loadExperiment(cfg);
  const own = { data_path: pictures, output_dir: outputDir, seed, device } satisfies Partial<TrainOptions>;
  const request = readRequest(trainOptions.parse(own), new Set(Object.keys(own)), experiment);
  return resolveTrainConfig(request, experiment, await measureFacts(source));
}

function hint({ diagnosis }: PretrainResult): { hint?: string } {
  return diagnosis === undefined || diagnosis.hint === '' ? {} : { hint: `${diagnosis.hint}.` };
}

function curvesOf(entries: readonly LogEntry[]): TrainingCurves {
  const curve = (key: string) => {
    const rows = entries.filter((entry) => typeof entry[key] === 'number');
    return { x: rows.map(({ iteration }) => Number(iteration)), y: rows.map((entry) => Number(entry[key])) };
  };
  return {
    loss: curve('loss'),
    teacherEntropy: curve('teacher_entropy'),
    studentEntropy: curve('student_entropy'),
    kl: curve('kl'),
    featureStd: curve('feature_std'),
    effectiveRank: curve('effective_rank'),
    gradientNorm: curve('grad_norm'),
    centreNorm: curve('center_norm'),
    lr: curve('lr'),
    momentum: curve('momentum'),
    imagesPerSecond: curve('images_per_second'),
  };
}

/** The crops of the first pictures of a batch, with all colours changed. */
async function cropRows(config: Resolution['config'], source: ImageSource): Promise<CropRow[]> {
  const rows = 6;
  const loader = new CropLoader({
    source,
    plan: cropPlan(config),
    seed: config.seed,
    batchSize: rows,
    workers: 0,
    photometric: 'workers',
  });
  try {
    for await (const { groups } of loader.batches(0)) {
      const views = Array.from({ length: rows }, (): CropRow['views'][number][] => []);
      for (const { size, views: count, crops } of groups) {
        const bytes = crops.bytes();
        const area = size * size * 3;
        for (let view = 0; view < count; view++)
          for (let row = 0; row < rows; row++) {
            const at = (view * rows + row) * area;
            views[row].push({ width: size, height: size, data: bytes.subarray(at, at + area) });
          }
      }
      return views.map((own) => ({ views: own }));
    }
    return [];
  } finally {
    await loader.close();
  }
}

function facts(
  { config }: Resolution,
  result: PretrainResult,
  parameters: readonly { numel: number }[],
  regions: DemoResult['regions'],
): ReportData['facts'] {
  const size = parameters.reduce((sum, { numel }) => sum + numel, 0);
  const percent = (value: number) => `${(100 * value).toFixed(0)}%`;
  return [
    [
      'Regions matched rightly',
      `${percent(regions.trained)} over ${PAIRS} scenes, ${percent(regions.untrained)} before training`,
    ],
    [
      'Speed',
      `${result.imagesPerSecond.toFixed(0)} images/s, each as ${2 + config.local_crops.reduce((sum, { count }) => sum + count, 0)} crops`,
    ],
    ['Network', `Swin with ${(size / 1e6).toFixed(1)} M parameters`],
    ['Device', `${config.device}, ${config.precision}, ${config.threads} threads`],
    ['libtorch', torchInfo().version],
  ];
}
