/** Evaluations: numbers only. */

export {
  evaluationPlan,
  extractFeatures,
  extractPixels,
  type FeatureBatch,
  type FeatureKind,
  type FeatureOptions,
  type FeatureTable,
  featureBatches,
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
