/** Looking inside of a frozen network: attention, correspondence and regions, as pictures and numbers. */

export type { Analysis, Drawing } from './analysis.js';
export { type AttentionOptions, drawAttention, measureEntropy, type OverData } from './attention.js';
export {
  type CorrespondenceData,
  drawCorrespondence,
  type MatchedPair,
  type MeasureOptions,
  matchPair,
  measureCorrespondence,
  measurePairs,
  type TruePair,
} from './correspondence.js';
export { drawComponents, drawNearestRegions, drawSimilarity, type NearestOptions } from './regions.js';
export { type ReportOptions, writeAnalyses } from './report.js';
export { mirroredView, readPicture, type Subject } from './views.js';
