/** Which pictures of an embedded set are most like a query. */

import {
  type EvaluationPlan,
  evaluationJob,
  normalise,
  type Picture,
  resampleOne,
  toPlanes,
} from '../data/index.js';
import type { Backbone } from '../models/index.js';
import { type Device, inferenceMode, scope, type Tensor, tensor } from '../torch/index.js';
import type { Embedding } from './embedding.js';
import { lengths } from './features.js';
import { freeze } from './frozen.js';
import { type FeatureRows, nearestRows, tensorRows } from './neighbours.js';

export interface Hit {
  /** row of the embedding */
  row: number;
  name: string;
  label: number;
  /** cosine */
  similarity: number;
}

/** Pooled features of pictures at hand. -> float32 [n, D], on the CPU */
export function describePictures(
  backbone: Backbone,
  pictures: readonly Picture[],
  plan: EvaluationPlan,
  device: Device,
): Tensor {
  const restore = freeze(backbone);
  try {
    return inferenceMode(() =>
      scope(() => {
        const { size } = plan;
        const pixels = new Uint8Array(pictures.length * size * size * 3);
        for (const [i, picture] of pictures.entries())
          pixels.set(centreCrop(picture, plan), i * size * size * 3);
        const batch = tensor(pixels, { shape: [pictures.length, size, size, 3] });
        const { pooled } = backbone.forwardFeatures(normalise(toPlanes(batch, device)));
        return pooled.to({ dtype: 'float32', device: 'cpu' });
      }),
    );
  } finally {
    restore();
  }
}

/** The middle of a picture as an evaluation sees it. -> uint8 [size * size * 3] */
export function centreCrop(picture: Picture, plan: EvaluationPlan): Uint8Array {
  const { offset: _, ...job } = evaluationJob(picture.height, picture.width, plan, 0);
  return resampleOne(picture, job);
}

/** Rows divided by their lengths, so that products are cosines. */
function unitRows(rows: FeatureRows): FeatureRows {
  return {
    ...rows,
    rows: (start, count) =>
      scope(() => {
        const block = rows.rows(start, count);
        return block.div(lengths(block));
      }),
  };
}

/** For each query [Q, D] the `count` most similar pictures, exactly, the most similar first. */
export function lookUp({ features, names, labels }: Embedding, queries: Tensor, count: number): Hit[][] {
  return scope(() => {
    const k = Math.min(count, features.count);
    const { similarity, index } = nearestRows(unitRows(features), unitRows(tensorRows(queries)), k);
    const cosines = similarity.toFloat32();
    const rows = index.toArray() as Int32Array;
    return Array.from({ length: queries.shape[0] }, (_, query) =>
      Array.from({ length: k }, (_, rank) => {
        const row = rows[query * k + rank];
        return { row, name: names[row], label: labels[row], similarity: cosines[query * k + rank] };
      }),
    );
  });
}
