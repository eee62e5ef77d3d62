/** The bytes of a tensor piece by piece, so that writing takes little memory beside it. */

import { noGrad, scope, type Tensor } from '../torch/index.js';

/** Elements that are copied at a time. */
const PIECE = 1 << 24;

/** The elements in row-major order, piece by piece. */
export function* elementsOf(value: Tensor): Generator<Uint8Array> {
  const { numel } = value;
  if (numel <= PIECE) {
    yield scope(() => noGrad(() => value.detach().to({ device: 'cpu' }).bytes()));
    return;
  }
  const row = noGrad(() => value.detach().reshape([numel])).keep();
  try {
    for (let start = 0; start < numel; start += PIECE) {
      const count = Math.min(PIECE, numel - start);
      yield scope(() => noGrad(() => row.narrow(0, start, count).to({ device: 'cpu' }).bytes()));
    }
  } finally {
    row.dispose();
  }
}
