/** Seeded random numbers for drawn scenes: the same key gives the same stream on every machine. */

/** A stream of draws; every method advances it. */
export interface Random {
  /** Uniform in [low, high). */
  between(low: number, high: number): number;
  /** Whole number in [low, high], both ends included. */
  integer(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(choices: readonly T[]): T;
  /** Normal draw, cut at three deviations. */
  normal(mean: number, deviation: number): number;
  /** An independent stream named `key`; drawing from it leaves this one where it is. */
  fork(key: string | number): Random;
}

/** A stream that depends on `parts` alone. */
export function random(...parts: readonly (string | number)[]): Random {
  return fromState(mix(parts.join('\u0000')));
}

function fromState(state: number): Random {
  let position = state >>> 0;
  const next = (): number => {
    position = (position + 0x9e3779b9) >>> 0;
    return scramble(position) / 2 ** 32;
  };
  return {
    between: (low, high) => low + (high - low) * next(),
    integer: (low, high) => low + Math.floor(next() * (high - low + 1)),
    chance: (probability) => next() < probability,
    pick: (choices) => choices[Math.floor(next() * choices.length)],
    normal: (mean, deviation) => {
      // Sum of twelve uniforms: no logarithm or cosine, so the same bits come out on every platform.
      let sum = -6;
      for (let i = 0; i < 12; i++) sum += next();
      return mean + deviation * Math.max(-3, Math.min(3, sum));
    },
    fork: (key) => fromState(mix(`${state}\u0000${key}`)),
  };
}

/** 32-bit avalanche: every input bit flips about half of the output bits. */
function scramble(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

function mix(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = scramble(Math.imul(hash ^ text.charCodeAt(i), 0x01000193));
  return hash;
}
