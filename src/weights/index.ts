/** Weights on disk: `.pth` and `.safetensors` bytes to and from named tensors. */

export { type InspectedTensor, type Inspection, inspectFile, tensorsByPath } from './inspect.js';
export {
  describeReport,
  type FittedWeights,
  fitWeights,
  loadWeights,
  type WeightReport,
} from './load-weights.js';
export { NpyFile, type NpyHead, npyHeader, outlineNpy, readNpy, writeNpy } from './npy.js';
export { outlineNpz, readNpz, writeNpz } from './npz.js';
export { outlinePth, type PthOutline, readPth } from './pth.js';
export { writePth } from './pth-write.js';
export { type FetchOptions, fetchWeights, isAddress } from './remote.js';
export { resizePositionsTo } from './resize-positions.js';
export {
  outlineSafetensors,
  readSafetensors,
  type SafeTensors,
  type SafeTensorsOutline,
  writeSafetensors,
} from './safetensors.js';
export {
  backboneState,
  bareName,
  readWeights,
  stateDictOf,
  toStateDict,
  type Weights,
} from './state-dict.js';
export { type StoredDType, TensorOutline } from './storage.js';
export {
  placeOf,
  readTensors,
  type TensorFormat,
  tensorFormat,
  writeTensors,
} from './tensor-file.js';
export * from './values.js';
