/** libtorch for TypeScript: tensors, operators, autograd, modes, lifetimes. Knows nothing of EsViT. */

export { backward, grad } from './autograd.js';
export {
  call,
  hasOperator,
  type Operator,
  type OperatorObserver,
  observeOperators,
  operator,
  run,
  TensorBase,
} from './base.js';
export { addonPath, type Handle, type TorchDescription } from './binding.js';
export { fromBuffer, type Nested, tensor } from './create.js';
export {
  bytesOf,
  type Device,
  type DType,
  dtypeOfArray,
  type MemoryFormat,
  type Scalar,
  type TypedArray,
} from './dtype.js';
export {
  fits,
  fusedLayerNorm,
  fusedWindowAttention,
  gelu,
  halfWeightNorm,
  type KernelsName,
  useKernels,
} from './fused.js';
export * from './modes.js';
export * from './ops.gen.js';
export { adamwPass, averagePass, crossEntropyPass, sharpenPass } from './passes.js';
export { type Generator, manualSeed, newGenerator, rngState, setRngState } from './rng.js';
export { scope } from './scope.js';
