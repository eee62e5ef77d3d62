/** Evaluations: numbers only. */

export {
  evaluationPlan,
  extractFeatures,
  extractPixels,
  type FeatureOptions,
  type FeatureTable,
} from './features.js';
export { type KnnOptions, type KnnResult, knnAccuracy, type LabelledFeatures } from './knn.js';
