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
export { Company } from './company.js';
export { atSamePlace, type Beginning, howToBegin, isDone } from './continuation.js';
export { cropPlan, prepareBatch, releaseBatch } from './crops.js';
export { evenly, type KnnSources } from './evaluate.js';
export { type Experiment, experimentSchema, type LoadedExperiment, loadExperiment } from './experiment.js';
export { isBf16Fast, measureFacts, shareFacts } from './facts.js';
export {
  type TrainOptionName,
  type TrainOptions,
  trainAliases,
  trainOptions,
} from './options.js';
export { samplerFor } from './order.js';
export { ORIGINAL_DEFAULTS } from './original-defaults.js';
export { Pace, type Straggler } from './pace.js';
export { pretrain } from './pretrain.js';
export type { PretrainEvents, PretrainResult, StepReport } from './pretrain-events.js';
export { type Request, readRequest, type TrainFacts } from './request.js';
export { resolveTrainConfig } from './resolve.js';
export type { Resolution, ResolvedTrainConfig } from './resolved-config.js';
export { measureTraining } from './speed.js';
export { spreadState } from './spread.js';
export { continueStage, startFromWeights } from './starting-weights.js';
export { type Ranks, type StepBatch, type StepResult, type StepState, trainStep } from './step.js';
