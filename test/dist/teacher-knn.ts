/** The k-NN accuracy of a teacher during a run, in one process or in several, on pictures some of which are none. */

import { openImages } from '../../src/data/index.js';
import { evaluationPlan, extractSharedFeatures, type KnnResult } from '../../src/eval/index.js';
import { manualSeed } from '../../src/torch/index.js';
import { evaluateTeacher } from '../../src/train/evaluate.js';
import type { ResolvedTrainConfig } from '../../src/train/index.js';
import { microNetwork } from '../ssl/micro.js';
import type { Context } from './tasks.js';

/** What `evaluateTeacher` describes at once. */
export const BATCH = 16;

export interface TeacherKnn {
  results: KnnResult[];
  /** of the bank: which pictures were read, how many were not, and what the network says of them */
  indices: number[];
  skipped: number;
  features: string;
}

export async function teacherKnn(
  { collectives }: Context,
  { bank, queries }: { bank: string; queries: string },
): Promise<TeacherKnn> {
  const size = 16;
  const config = { global_crops_size: size, batch_size_per_gpu: 4, num_workers: 1, device: 'cpu' };
  manualSeed(11);
  const network = microNetwork();
  const sources = { bank: await openImages(bank), queries: await openImages(queries) };
  try {
    const results = await evaluateTeacher(config as ResolvedTrainConfig, network, sources, collectives);
    const options = { plan: evaluationPlan(size), batchSize: BATCH, workers: 0, device: 'cpu' };
    const table = await extractSharedFeatures(network.backbone, sources.bank, options, collectives);
    return {
      results,
      indices: [...table.indices],
      skipped: table.skipped,
      features: Buffer.from(table.features.bytes()).toString('base64'),
    };
  } finally {
    for (const source of Object.values(sources)) source.close();
  }
}
