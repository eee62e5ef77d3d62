/** Drawn scenes of ten classes: described by seed, seen by any camera, with exact geometry between views. */

export { type Affine, applyTo, compose, invert } from './affine.js';
export { OBJECT_CLASSES, type ObjectClass } from './objects.js';
export { makePairs, type PairOptions, readPairs, type ScenePair } from './pairs.js';
export { type RenderOptions, renderScene, sceneSvg } from './render.js';
export {
  makeSampleData,
  SAMPLE_DATA_DEFAULTS,
  type SampleDataOptions,
  type SampleDataResult,
} from './sample-data.js';
export { describeScene, type Scene } from './scene.js';
export { otherView, type Photometry, pixelMap, plainView, type View } from './view.js';
