/** Initialisations, drawn from libtorch's default generator. */

import { noGrad, scope, type Tensor } from '../torch/index.js';

let drawing = true;

/**
 * Builds modules without drawing their weights, which hold whatever was in memory: for counting, and for those
 * whose weights come from a file. The generator is left alone, and large networks are there at once.
 */
export function withoutInitialisation<T>(body: () => T): T {
  const before = drawing;
  drawing = false;
  try {
    return body();
  } finally {
    drawing = before;
  }
}

/** Normal of standard deviation `std`, cut at ±2 (absolute), in place. */
export function truncatedNormal(x: Tensor, std: number): Tensor {
  if (!drawing) return x;
  noGrad(() =>
    scope(() => {
      // Inverse of the normal distribution function on a uniform draw; erf(2/(std·√2)) is the mass inside ±2.
      const mass = erf(2 / (std * Math.SQRT2));
      x.uniform_(-mass, mass);
      x.copy_(x.erfinv())
        .mul_(std * Math.SQRT2)
        .clamp_(-2, 2);
    }),
  );
  return x;
}

/** Uniform in ±1/√fanIn, in place: what PyTorch's Linear and Conv2d start with. */
export function fanInUniform(x: Tensor, fanIn: number): Tensor {
  if (!drawing) return x;
  const bound = 1 / Math.sqrt(fanIn);
  noGrad(() => x.uniform_(-bound, bound));
  return x;
}

/** Normal of variance 2/fanOut, in place: keeps the size of gradients through ReLUs (He et al. 2015). */
export function heNormal(x: Tensor, fanOut: number): Tensor {
  if (!drawing) return x;
  noGrad(() => x.normal_(0, Math.sqrt(2 / fanOut)));
  return x;
}

/** Abramowitz and Stegun 7.1.26; off by less than 1.5e-7. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * x);
  const poly =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return 1 - poly * Math.exp(-x * x);
}
