/** The two pre-training tasks: heads, multi-crop forward, losses, teacher. */

export { Contrast } from './contrast.js';
export { DinoHead, HEAD_DEFAULTS, type HeadOptions } from './head.js';
export {
  type Diagnosis,
  diagnose,
  featureSpread,
  type Health,
  type HealthContext,
  measureHealth,
  type Verdict,
} from './health.js';
export {
  type LossOptions,
  type LossResult,
  matchRegions,
  teacherTempSchedule,
  ViewLoss,
  ViewRegionLoss,
} from './loss.js';
export { type CropMixing, cropMixing, ownShares } from './mixing.js';
export { type CropGroup, MultiCropNetwork, type MultiCropOutput } from './multi-crop.js';
export { moveTeacher, startTeacher } from './teacher.js';
