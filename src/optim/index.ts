/** Optimisers, their schedules, and what happens to gradients on the way. */

export { AdamW } from './adamw.js';
export { GradScaler } from './grad-scaler.js';
export { Optimizer, type OptimizerState } from './optimizer.js';
export {
  cancelLastLayerGradients,
  clipGradients,
  type ParamGroup,
  paramGroups,
  queueClipping,
} from './param-groups.js';
export { cosineAnnealing, cosineSchedule } from './schedules.js';
export { Lars, Sgd } from './sgd.js';
