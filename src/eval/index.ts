/** Evaluations: numbers only. */

export { type KnnOptions, type KnnResult, knnAccuracy, type LabelledFeatures } from './knn.js';
