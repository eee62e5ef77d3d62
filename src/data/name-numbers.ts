/** A number for each of many names: a hash table in flat memory, an eighth of the size of a Map. */

import { GrowingNumbers, GrowingStrings } from './growing-lists.js';
import type { PackedStrings } from './packed-strings.js';

/** FNV-1a, 32 bits. */
function hash(bytes: Uint8Array): number {
  let h = 2166136261;
  for (let i = 0; i < bytes.length; i++) h = Math.imul(h ^ bytes[i], 16777619);
  return h ^ (h >>> 15);
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export class NameNumbers {
  private names: GrowingStrings | undefined = new GrowingStrings();
  private readonly values = new GrowingNumbers(Int32Array);
  private packed: PackedStrings | undefined;
  private numbers: Int32Array = new Int32Array(0);
  /** 1 + the row of the name whose place this is, or 0 */
  private slots: Int32Array = new Int32Array(0);

  /** Of a name that is added twice, the later number counts. */
  add(name: string | Uint8Array, value: number): void {
    if (this.names === undefined) throw new Error('internal: names are added after a look-up');
    this.names.push(name);
    this.values.push(value);
  }

  get(name: string | Uint8Array): number | undefined {
    const bytes = typeof name === 'string' ? Buffer.from(name) : name;
    const { slots, packed, numbers } = this.build();
    const mask = slots.length - 1;
    for (let place = hash(bytes) & mask; slots[place] !== 0; place = (place + 1) & mask) {
      const row = slots[place] - 1;
      if (isEqual(packed.bytesAt(row), bytes)) return numbers[row];
    }
    return undefined;
  }

  private build(): { slots: Int32Array; packed: PackedStrings; numbers: Int32Array } {
    if (this.packed !== undefined) return { slots: this.slots, packed: this.packed, numbers: this.numbers };
    const packed = (this.names as GrowingStrings).finish();
    const numbers = this.values.finish();
    this.names = undefined;
    const slots = new Int32Array(2 ** Math.ceil(Math.log2(packed.length * 1.5 + 2)));
    const mask = slots.length - 1;
    for (let row = 0; row < packed.length; row++) {
      const bytes = packed.bytesAt(row);
      let place = hash(bytes) & mask;
      while (slots[place] !== 0 && !isEqual(packed.bytesAt(slots[place] - 1), bytes))
        place = (place + 1) & mask;
      if (slots[place] === 0) slots[place] = row + 1;
      else numbers[slots[place] - 1] = numbers[row];
    }
    this.packed = packed;
    this.numbers = numbers;
    this.slots = slots;
    return { slots, packed, numbers };
  }
}
