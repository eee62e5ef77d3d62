/** Pre-training: its options, its experiment files and the one configuration they settle to. */

export { buildState, precisionOf } from './build.js';
export {
  gatherState,
  loadCheckpoint,
  type Position,
  readCheckpoint,
  restoreState,
  type SavedState,
  saveCheckpoint,
} from './checkpoint.js';
export { type Beginning, howToBegin } from './continuation.js';
export { cropPlan, prepareBatch, releaseBatch } from './crops.js';
export { evenly, type KnnSources } from './evaluate.js';
export { type Experiment, experimentSchema, type LoadedExperiment, loadExperiment } from './experiment.js';
export { isBf16Fast, measureFacts } from './facts.js';
export {
  ORIGINAL_DEFAULTS,
  type TrainOptionName,
  type TrainOptions,
  trainAliases,
  trainOptions,
} from './options.js';
export { samplerFor } from './order.js';
export { type PretrainEvents, type PretrainResult, pretrain, type StepReport } from './pretrain.js';
export { type Request, readRequest, type TrainFacts } from './request.js';
export { resolveTrainConfig } from './resolve.js';
export type { Resolution, ResolvedTrainConfig } from './resolved-config.js';
export { measureTraining } from './speed.js';
export { continueStage, startFromWeights } from './starting-weights.js';
export { type StepBatch, type StepResult, type StepState, trainStep } from './step.js';
