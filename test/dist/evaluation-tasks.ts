/** Evaluations in parts: what ranks find together, as plain values that can be compared. */

import { createHash } from 'node:crypto';
import { openImages } from '../../src/data/index.js';
import type { Collectives } from '../../src/dist/index.js';
import {
  evaluationPlan,
  extractSharedFeatures,
  type FeatureKind,
  type FeatureTable,
  type KnnResult,
  knnAccuracy,
  type LinearRunResult,
  runLinear,
} from '../../src/eval/index.js';
import { manualSeed, noGrad, randn, scope, type Tensor } from '../../src/torch/index.js';
import { microBackbone } from '../ssl/micro.js';

/** A table in short: equal only if every bit is. */
export interface Digest {
  features: string;
  shape: readonly number[];
  labels: number[];
  indices: number[];
  skipped: number;
  /** what was told of progress at the end */
  done: number;
}

const settings = { plan: evaluationPlan(16), workers: 0, device: 'cpu' };

/** Features of different kinds and choices, two pictures at a time. */
export async function describeTogether(collectives: Collectives, path: string): Promise<Digest[]> {
  const source = await openImages(path);
  manualSeed(2);
  const backbone = microBackbone();
  const kinds: FeatureKind[] = ['pooled', { blocks: 2, avgpoolPatchTokens: false }];
  const jobs = [
    ...kinds.map((kind) => ({ kind, backbone, indices: undefined })),
    { kind: 'pooled' as const, backbone: undefined, indices: undefined },
    { kind: 'pooled' as const, backbone, indices: Uint32Array.of(9, 0, 6, 7, 3, 11, 4) },
    { kind: 'pooled' as const, backbone, indices: Uint32Array.of(1) }, // fewer batches than ranks
  ];
  const digests: Digest[] = [];
  for (const { kind, backbone, indices } of jobs) {
    let done = 0;
    const table = await extractSharedFeatures(
      backbone,
      source,
      {
        ...settings,
        kind,
        batchSize: 2,
        ...(indices !== undefined && { indices }),
        onProgress: (count) => {
          done = count;
        },
      },
      collectives,
    );
    digests.push(digestOf(table, done));
  }
  source.close();
  return digests;
}

function digestOf({ features, labels, indices, skipped }: FeatureTable, done: number): Digest {
  const bytes = new Uint8Array(features.toFloat32().buffer.slice(0));
  return {
    features: createHash('sha256').update(bytes).digest('hex'),
    shape: features.shape,
    labels: Array.from(labels.toArray(), Number),
    indices: [...indices],
    skipped,
    done,
  };
}

/** k-NN of drawn features: more than one block of the bank, and queries that do not come out even. */
export function classifyTogether(collectives: Collectives, queries: number): KnnResult[] {
  return noGrad(() =>
    scope(() => {
      manualSeed(4);
      const labelled = (rows: number) => {
        const drawn = randn([rows, 24]);
        const features = drawn.div(drawn.norm(2, [1], true));
        // Classes that the features know something of, so that votes are not mere chance.
        const labels = features.narrow(1, 0, 7).argmax(1).to({ dtype: 'int64' });
        return { features, labels };
      };
      const options = { ks: [1, 20, 200], temperatures: [0.07, 0.5], collectives };
      return knnAccuracy(labelled(9000), labelled(queries), options);
    }),
  );
}

export interface LinearTask {
  path: string;
  outputDir: string;
  /** of each rank */
  batchSize: number;
  augment: boolean;
  /** end with this step */
  stopAfter?: number;
  notes?: string[];
}

/** A linear evaluation of two settings in three epochs. */
export async function probeTogether(
  collectives: Collectives,
  { path, outputDir, batchSize, augment, stopAfter, notes = [] }: LinearTask,
): Promise<LinearRunResult> {
  const train = await openImages(path);
  const val = await openImages(path, { split: 'val', classes: train.classes });
  manualSeed(3);
  const backbone = microBackbone();
  let steps = 0;
  try {
    return await runLinear({
      subject: {
        ...settings,
        backbone,
        train,
        val,
        batchSize,
        blocks: [1, 2],
        avgpoolPatchTokens: false,
        name: 'micro',
      },
      lrs: [1],
      epochs: 3,
      valFreq: 1,
      numLabels: 2,
      seed: 1,
      augment,
      outputDir,
      note: (line) => notes.push(line),
      // Only the last rank is asked.
      stopped: () => ++steps === stopAfter && collectives.rank === collectives.worldSize - 1,
      collectives,
    });
  } finally {
    train.close();
    val.close();
  }
}

export const numbersOf = (x: Tensor) => Array.from(x.toArray(), Number);
