/** Modules of any network. */

export { fanInUniform, heNormal, truncatedNormal, withoutInitialisation } from './init.js';
export { Conv2d, Linear, startByFanIn, startNarrow, WeightNormLinear, zeroParameter } from './linear.js';
export { DropPath, drop, Mlp } from './mlp.js';
export { Buffer, type LoadReport, Module, officialName, Parameter } from './module.js';
export { BatchNorm, LayerNorm, synchroniseBatchNorms } from './norm.js';
