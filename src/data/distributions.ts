/** Random numbers that are neither uniform nor normal: beta and Dirichlet. */

import type { RandomStream } from './random.js';

/** A number in (0, 1], so that it has a logarithm. */
function positive(random: RandomStream): number {
  return (random.bits() + 1) / 2 ** 32;
}

/** Logarithm of a gamma number (Marsaglia and Tsang 2000): small shapes would underflow without it. */
function logGamma(random: RandomStream, shape: number): number {
  if (shape < 1) return logGamma(random, shape + 1) + Math.log(positive(random)) / shape;
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = random.normal();
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(positive(random)) < 0.5 * x * x + d - d * v + d * Math.log(v))
      return Math.log(d * v);
  }
}

/** Beta(alpha, alpha): 0..1, symmetrical about a half. */
export function symmetricBeta(random: RandomStream, alpha: number): number {
  const first = logGamma(random, alpha);
  return 1 / (1 + Math.exp(logGamma(random, alpha) - first));
}

/** `n` shares that add up to 1 (Dirichlet with all parameters equal). */
export function dirichlet(random: RandomStream, alpha: number, n: number): number[] {
  const logs = Array.from({ length: n }, () => logGamma(random, alpha));
  const largest = Math.max(...logs);
  const parts = logs.map((log) => Math.exp(log - largest));
  const sum = parts.reduce((total, part) => total + part, 0);
  return parts.map((part) => part / sum);
}
