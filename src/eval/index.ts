/** Evaluations: numbers only. */

export {
  entropyBits,
  headEntropies,
  headsByEntropy,
  massMask,
  type Place,
  type QueryAttention,
  queryAttention,
  regionAt,
} from './attention.js';
export {
  type BestPlace,
  bestPlace,
  type CorrespondenceScore,
  type GridSize,
  matchRegions,
  placeOf,
  type RegionMatch,
  type RegionMatching,
  rankedMatches,
  regionsOf,
  type ScoreOptions,
  scoreMatches,
  unitRows,
} from './correspondence.js';
export { csvLine, readCsv } from './csv.js';
export {
  EMBEDDING_FORMATS,
  type Embedding,
  type EmbeddingFormat,
  embeddingFormat,
  readEmbedding,
  readFacts,
  writeEmbedding,
  writeFacts,
} from './embedding.js';
export { type EmbeddedRow, EmbeddingParts } from './embedding-parts.js';
export {
  dumpFeatures,
  FEATURE_FORMATS,
  type FeatureFormat,
  type FeaturePair,
  featureFiles,
  formatIn,
  type LabelledTable,
  loadFeatures,
  npyRows,
} from './feature-store.js';
export {
  evaluationPlan,
  extractFeatures,
  extractPixels,
  type FeatureBatch,
  type FeatureKind,
  type FeatureOptions,
  type FeatureTable,
  featureBatches,
  pixelBatches,
} from './features.js';
export { freeze } from './frozen.js';
export { type KnnOptions, type KnnResult, knnAccuracy, type LabelledFeatures } from './knn.js';
export {
  batchesOf,
  type LabelledBatch,
  type LinearOptions,
  LinearProbes,
  MeanLosses,
  type ProbeSetting,
  type ProbeState,
  type Validation,
} from './linear.js';
export { bestOf, type LinearProgress, loadLinear, saveLinear } from './linear-checkpoint.js';
export { blockWidths, cachedTables, type LinearSubject } from './linear-data.js';
export { type EpochReport, type LinearRunResult, type ProbeReport, runLinear } from './linear-run.js';
export { fitLogistic, type LogisticModel, type LogisticOptions, logisticAccuracy } from './logistic.js';
export { centreCrop, describePictures, type Hit, lookUp } from './look-up.js';
export { type FeatureRows, type Neighbours, nearestRows, tensorRows } from './neighbours.js';
export { type FeatureFrame, readParquet, writeParquet } from './parquet.js';
export { extractSharedFeatures, type SharedBatch, sharedBatches } from './shared-batches.js';
