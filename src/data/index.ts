/** From a path with pictures to batches: sources, sampling, crops, workers, photometric step. */

export { isStepName, levelArguments, type StepSettings } from './augment-levels.js';
export { type AutoAugment, parseAutoAugment } from './augment-strings.js';
export { type AugmentRecipe, applyRecipe, drawAutoAugment } from './auto-augment.js';
export type { EngineOptions, LoaderStats } from './batch-engine.js';
export {
  type CheckOptions,
  type CheckReport,
  checkImages,
  type LoadingSpeed,
  measureLoading,
} from './check.js';
export { createSampler, SAMPLERS, type SamplerName, type SamplerOptions } from './create-sampler.js';
export { type Box, drawPhotometric, fallbackBox, randomResizedCrop } from './crop-draws.js';
export {
  type CropBatch,
  type CropBatchGroup,
  CropLoader,
  type CropLoaderOptions,
  type PhotometricPlace,
} from './crop-loader.js';
export {
  type CropGroup,
  type CropPlan,
  checkPlan,
  classifierPlan,
  DINO_PHOTOMETRIC,
  type DinoPlanOptions,
  dinoPlan,
  type EvaluationPlan,
  type PhotometricPolicy,
  type Range,
} from './crop-plan.js';
export { type PolicyName, type PolicyOptions, policyPlan } from './crop-policies.js';
export { decode, MAX_PIXELS } from './decode.js';
export {
  drawErasing,
  type EraseMode,
  type ErasePolicy,
  type ErasingDraws,
  eraseBoxes,
  RANDOM_ERASING,
} from './erase-draws.js';
export { erase } from './erasing.js';
export { type EvaluationBatch, EvaluationLoader, type EvaluationLoaderOptions } from './evaluation-loader.js';
export { IMAGE_EXTENSIONS } from './file-list.js';
export { type FolderOptions, openFolder } from './folder-source.js';
export { cropJob, evaluationJob } from './geometry.js';
export type { LabelKind } from './labels.js';
export {
  type ImageLayout,
  imageLayout,
  type LayoutFlags,
  type LayoutKind,
  layoutAsked,
  type Split,
} from './layout.js';
export { openList, openWebVision } from './listed-sources.js';
export {
  drawMixing,
  type MixedPicture,
  type MixingPolicy,
  mixes,
  mixPictures,
} from './mixing.js';
export {
  type ColourChanges,
  changeColours,
  FILTER,
  nativeImage,
  type Picture,
  type ResampleJob,
  resampleOne,
} from './native-image.js';
export { type OpenImagesOptions, openImages } from './open-images.js';
export { openOpenImages, openTsv, type TsvOptions } from './open-tsv.js';
export * from './photometric.js';
export { CACHE_LIMIT, cacheFor, PixelCache } from './pixel-cache.js';
export { type BadImage, changesOf } from './producer.js';
export { PURPOSE, RandomStream } from './random.js';
export { type Colour, type RetouchStep, retouch, retouched } from './retouch.js';
export {
  type EpochOrder,
  epochOrder,
  iterationsPerEpoch,
  type Ranks,
  type Sampler,
  type Share,
} from './sampler.js';
export type { ImageSource } from './source.js';
export { openTar, type TarOptions } from './tar-source.js';
export { evaluationView } from './view.js';
export { openZip, type ZipOptions } from './zip-source.js';
