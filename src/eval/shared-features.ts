/** Features that several ranks find together: each describes its part of the pictures, and all get all rows. */

import type { ImageSource } from '../data/index.js';
import { alone, type Collectives, gatherRows } from '../dist/index.js';
import type { Backbone } from '../models/index.js';
import { noGrad, scope, tensor, zeros } from '../torch/index.js';
import { extractFeatures, type FeatureOptions, type FeatureTable } from './features.js';

/**
 * As `extractFeatures`, over all ranks. The rows come in the order of the wanted pictures, whatever the number of
 * ranks; unreadable pictures are missing, and what filled up the parts on their way is taken off.
 */
export async function extractSharedFeatures(
  backbone: Backbone,
  source: ImageSource,
  options: FeatureOptions,
  collectives: Collectives = alone,
): Promise<FeatureTable> {
  const { rank, worldSize } = collectives;
  if (worldSize === 1) return extractFeatures(backbone, source, options);
  const wanted = options.indices ?? Uint32Array.from({ length: source.length }, (_, i) => i);
  const indices = wanted.filter((_, i) => i % worldSize === rank);
  const own: FeatureTable =
    indices.length > 0
      ? await extractFeatures(backbone, source, { ...options, indices })
      : {
          features: zeros([0, backbone.featureDim]).keep(),
          labels: zeros([0], { dtype: 'int64' }).keep(),
          indices: new Int32Array(0),
          skipped: 0,
        };
  try {
    return noGrad(() =>
      scope(() => {
        const places = Array.from(gatherRows(collectives, tensor(own.indices)).toArray(), Number);
        const placeOf = new Map([...wanted].map((index, place) => [index, place]));
        const order = places
          .map((index, row) => ({ row, place: placeOf.get(index) ?? 0 }))
          .sort((a, b) => a.place - b.place)
          .map(({ row }) => row);
        const rows = tensor(BigInt64Array.from(order, BigInt));
        const skipped = tensor(Int32Array.of(own.skipped));
        collectives.allReduceSum(skipped);
        return {
          features: gatherRows(collectives, own.features).indexSelect(0, rows).keep(),
          labels: gatherRows(collectives, own.labels).indexSelect(0, rows).keep(),
          indices: Int32Array.from(order, (row) => places[row]),
          skipped: skipped.item(),
        };
      }),
    );
  } finally {
    own.features.dispose();
    own.labels.dispose();
  }
}
