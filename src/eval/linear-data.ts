/** What linear evaluation trains and is tested on: features of both splits, from the network or from a cache. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EvaluationPlan, ImageSource } from '../data/index.js';
import { alone, type Collectives, sharedValue } from '../dist/index.js';
import { internal, UserError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import type { Backbone } from '../models/index.js';
import { inferenceMode, randn, scope, type Tensor, TensorBase } from '../torch/index.js';
import { dumpFeatures, type LabelledTable, loadFeatures } from './feature-store.js';
import type { FeatureOptions } from './features.js';
import { freeze } from './frozen.js';
import type { FeatureRows } from './neighbours.js';
import { extractForFirst, extractSharedFeatures } from './shared-batches.js';

export interface LinearSubject {
  backbone: Backbone;
  train: ImageSource;
  val: ImageSource;
  plan: EvaluationPlan;
  batchSize: number;
  workers: number;
  device: string;
  /** numbers of last blocks whose features are put side by side */
  blocks: readonly number[];
  /** also the mean over the regions of the last block, where there is a class token */
  avgpoolPatchTokens: boolean;
  /** what is evaluated, in one line: what was computed for another line is not used */
  name: string;
  /** pictures described so far */
  onProgress?: (split: 'train' | 'val', done: number) => void;
}

export const mostBlocks = ({ blocks }: Pick<LinearSubject, 'blocks'>) => Math.max(...blocks);

/** The settings of an extraction of block features, `worldSize` ranks of which advance together. */
export function featureOptions(
  subject: LinearSubject,
  split: 'train' | 'val',
  worldSize = 1,
): FeatureOptions {
  const { plan, batchSize, workers, device, avgpoolPatchTokens, onProgress } = subject;
  return {
    plan,
    batchSize,
    workers,
    device,
    kind: { blocks: mostBlocks(subject), avgpoolPatchTokens },
    unitLength: false,
    ...(onProgress !== undefined && { onProgress: (done: number) => onProgress(split, done * worldSize) }),
  };
}

/**
 * The width of the features by number of blocks. Fewer blocks must be the last columns of more blocks, since one
 * forward pass serves all numbers.
 */
export function blockWidths(subject: LinearSubject): Map<number, number> {
  const { backbone, plan, device, blocks, avgpoolPatchTokens } = subject;
  const count = backbone.depths.reduce((sum, depth) => sum + depth, 0);
  const most = mostBlocks(subject);
  if (most > count)
    throw new UserError('usage', `--n_last_blocks ${most}: this network has ${count} blocks. Ask for fewer.`);
  const restore = freeze(backbone);
  try {
    return inferenceMode(() =>
      scope(() => {
        const x = randn([1, 3, plan.size, plan.size]).to({ device });
        const all = backbone.blockFeatures(x, most, { avgpoolPatchTokens });
        return new Map(
          blocks.map((number) => {
            const own = backbone.blockFeatures(x, number, { avgpoolPatchTokens });
            const width = own.shape[1];
            const tail = all.narrow(1, all.shape[1] - width, width);
            if (tail.sub(own).abs().max().item() > 1e-3 * (1 + own.abs().max().item()))
              throw internal(
                `the features of ${number} blocks are not the last ones of those of ${most} blocks`,
              );
            return [number, width] as const;
          }),
        );
      }),
    );
  } finally {
    restore();
  }
}

/** Features of the val split: of centre crops, so once for all epochs. All ranks get all of them. */
export async function valTable(
  subject: LinearSubject,
  collectives: Collectives = alone,
): Promise<LabelledTable> {
  return extractSharedFeatures(subject.backbone, subject.val, featureOptions(subject, 'val'), collectives);
}

const META = 'features.json';

/**
 * Features of centre crops of both splits, read from `folder` if they are there, else computed and left there. Several
 * ranks compute them together; rank 0 has them then, and the others have no more to do (undefined).
 */
export async function cachedTables(
  subject: LinearSubject,
  folder: string,
  collectives: Collectives = alone,
): Promise<{ train: LabelledTable; val: LabelledTable; fromCache: boolean } | undefined> {
  const note = JSON.stringify({ of: subject.name, blocks: mostBlocks(subject) });
  const path = join(folder, META);
  const fromCache = sharedValue(collectives, () => existsSync(path) && readFileSync(path, 'utf8') === note);
  if (fromCache) {
    if (collectives.rank > 0) return undefined;
    const { bank, queries } = await loadFeatures(folder);
    return { train: inMemory(bank), val: inMemory(queries), fromCache };
  }
  const extract = (split: 'train' | 'val') =>
    extractForFirst(subject.backbone, subject[split], featureOptions(subject, split), collectives);
  const train = await extract('train');
  const val = await extract('val');
  if (train === undefined || val === undefined) return undefined;
  dumpFeatures(folder, 'npy', { bank: train, queries: val });
  writeFileAtomic(path, note); // last: without it the files are not trusted
  return { train, val, fromCache };
}

function inMemory({ features, labels }: { features: Tensor | FeatureRows; labels: Tensor }): LabelledTable {
  if (features instanceof TensorBase) return { features: features as Tensor, labels };
  const rows = features as FeatureRows;
  return { features: rows.rows(0, rows.count), labels };
}
