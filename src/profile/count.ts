/** What a forward pass costs whatever the machine: multiply-adds and activations. */

import { type Operator, observeOperators, TensorBase } from '../torch/index.js';

export interface Cost {
  /** multiplications with an addition, each pair counted as one */
  multiplyAdds: number;
  /** elements that products and convolutions put out */
  activations: number;
}

type Terms = (values: readonly unknown[]) => number;

const shapeAt = (values: readonly unknown[], index: number): readonly number[] => {
  const value = values[index];
  if (!(value instanceof TensorBase)) throw new Error('internal: an operator without a tensor to count');
  return value.shape;
};
const product = (sizes: readonly number[]) => sizes.reduce((all, size) => all * size, 1);
/** How many products are added up for one element of the result: the last dimension of an argument. */
const inner =
  (index: number): Terms =>
  (values) =>
    shapeAt(values, index).at(-1) ?? 1;

/** Norms, activations, softmax and sums are left out, as is usual: they are few and vary with the kernel. */
const TERMS: Readonly<Record<string, Terms>> = {
  'aten::linear': inner(0),
  'aten::matmul': inner(0),
  'aten::mm': inner(0),
  'aten::bmm': inner(0),
  'aten::addmm': inner(1),
  'aten::baddbmm': inner(1),
  // weight: [outChannels, inChannels / groups, kernel, kernel]
  'aten::conv2d': (values) => product(shapeAt(values, 1).slice(1)),
};

/** Counts what `forward` calls; it must not run a backward pass. */
export function countCost(forward: () => void): Cost {
  const cost: Cost = { multiplyAdds: 0, activations: 0 };
  observeOperators((op: Operator, values, shape) => {
    if (op.name === 'aten::einsum') throw new Error('internal: einsum is not counted');
    const terms = Object.hasOwn(TERMS, op.name) ? TERMS[op.name] : undefined;
    if (terms === undefined) return;
    const outputs = product(shape());
    cost.multiplyAdds += outputs * terms(values);
    cost.activations += outputs;
  }, forward);
  return cost;
}
