/** Random numbers that depend on a key only: the same (seed, epoch, index, purpose) draws the same, everywhere. */

/** What a stream is for, so that streams of one key do not run alike. A crop of view v uses `crop + v`, its mixing `mixing + v`. */
export const PURPOSE = { shuffle: 1, replacement: 2, probe: 3, crop: 16, mixing: 2 ** 30 } as const;

/** Added to the purpose of a crop for each time that its picture came before in the same epoch. */
export const REPEAT = 2 ** 16;

function mix(hash: number, word: number, factor: number): number {
  let h = Math.imul(hash ^ word, factor);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return h ^ (h >>> 15);
}

/** A stream of 128 bits of state (sfc32), started anywhere by a key. One object can be keyed again and again. */
export class RandomStream {
  private a = 0;
  private b = 0;
  private c = 0;
  private counter = 1;

  /** `seed` may be any whole number up to 2^53; the other parts of the key are taken modulo 2^32. */
  key(seed: number, epoch: number, index: number, purpose: number): this {
    let first = 0x243f6a88;
    let second = 0x85a308d3;
    const absorb = (word: number) => {
      first = mix(first, word | 0, 0x85ebca6b);
      second = mix(second + first, word | 0, 0xc2b2ae35);
    };
    absorb(seed);
    absorb(Math.floor(seed / 2 ** 32));
    absorb(epoch);
    absorb(index);
    absorb(purpose);
    this.a = first;
    this.b = second;
    this.c = mix(first, second, 0x9e3779b1);
    this.counter = 1;
    for (let i = 0; i < 12; i++) this.bits();
    return this;
  }

  /** 32 random bits, as a number in 0..2^32-1 */
  bits(): number {
    const sum = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + ((high - low) * this.bits()) / 2 ** 32;
  }

  /** True with probability p. */
  chance(p: number): boolean {
    return this.bits() < p * 2 ** 32;
  }

  /** A whole number in 0..n-1, each equally likely. n: 1..2^32 */
  integer(n: number): number {
    const limit = 2 ** 32 - (2 ** 32 % n);
    let value = this.bits();
    while (value >= limit) value = this.bits();
    return value % n;
  }

  /** Standard normal (Box and Muller). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log((this.bits() + 1) / 2 ** 32));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Shuffles `items` in place (Fisher and Yates). */
  shuffle(items: Uint32Array | Uint8Array): void {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const item = items[i];
      items[i] = items[j];
      items[j] = item;
    }
  }

  /** 0..n-1 in random order. */
  permutation(n: number): Uint32Array {
    const items = Uint32Array.from({ length: n }, (_, i) => i);
    this.shuffle(items);
    return items;
  }
}
