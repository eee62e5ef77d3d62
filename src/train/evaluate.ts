/** k-NN accuracy of the teacher while it is trained. */

import type { DeepReadonly } from '../config/index.js';
import type { ImageSource } from '../data/index.js';
import { alone, type Collectives } from '../dist/index.js';
import {
  evaluationPlan,
  extractSharedFeatures,
  type FeatureTable,
  type KnnResult,
  knnAccuracy,
} from '../eval/index.js';
import type { MultiCropNetwork } from '../ssl/index.js';
import type { ResolvedTrainConfig } from './resolved-config.js';

/** Data that is labelled, to watch k-NN accuracy on. */
export interface KnnSources {
  bank: ImageSource;
  queries: ImageSource;
}

/** Most pictures that vote, and most that are classified, drawn evenly: enough to watch a run. */
const BANK = 10_000;
const QUERIES = 2_000;
const KS = [10, 20];
const TEMPERATURE = 0.07;

export async function evaluateTeacher(
  config: DeepReadonly<ResolvedTrainConfig>,
  teacher: MultiCropNetwork,
  { bank, queries }: KnnSources,
  collectives: Collectives = alone,
): Promise<KnnResult[]> {
  const features = (source: KnnSources['bank'], most: number): Promise<FeatureTable> =>
    extractSharedFeatures(
      teacher.backbone,
      source,
      {
        plan: evaluationPlan(config.global_crops_size),
        batchSize: Math.max(16, config.batch_size_per_gpu),
        workers: config.num_workers,
        device: config.device,
        indices: evenly(source.length, most),
      },
      collectives,
    );
  const voters = await features(bank, BANK);
  const asked = await features(queries, QUERIES);
  try {
    return knnAccuracy(voters, asked, { ks: KS, temperatures: [TEMPERATURE], collectives });
  } finally {
    for (const table of [voters, asked]) {
      table.features.dispose();
      table.labels.dispose();
    }
  }
}

/** At most `most` of `length` indices, evenly spread. */
export function evenly(length: number, most: number): Uint32Array {
  const count = Math.min(length, most);
  return Uint32Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * length) / count));
}
