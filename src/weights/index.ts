/** Weights on disk: `.pth` and `.safetensors` bytes to and from named tensors. */

export { NpyFile, npyHeader, readNpy, writeNpy } from './npy.js';
export { readPth } from './pth.js';
export { writePth } from './pth-write.js';
export { readSafetensors, type SafeTensors, writeSafetensors } from './safetensors.js';
export {
  backboneState,
  bareName,
  loadWeights,
  readWeights,
  stateDictOf,
  toStateDict,
  type WeightReport,
  type Weights,
} from './state-dict.js';
export * from './values.js';
