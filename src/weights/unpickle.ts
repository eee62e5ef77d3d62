/** Reads pickles (protocols 0 to 5) as data: opcodes are parsed, names are looked up in a list, nothing is run. */

import { UserError } from '../errors.js';
import { latin1, narrow, PickleBytes, text, wholeNumber } from './pickle-bytes.js';
import { BuildTarget, Global, type PickleItem } from './pickle-items.js';
import { Namespace, NumpyArray, OrderedDict, PyFloat, PyTuple, type PyValue } from './values.js';

export interface UnpickleOptions {
  /** null: the name is not allowed */
  findGlobal(module: string, name: string): Global | null;
  persistentLoad(id: PickleItem): PickleItem;
  /** of the file, for messages */
  source: string;
}

/** The bytes ended before the pickle did. */
export class PickleEnd extends UserError {
  constructor(message: string) {
    super('checkpoint', message);
  }
}

class Mark {}
const MARK = new Mark();

/** Bytes of a whole number; no checkpoint counts further. */
const MOST_DIGITS = 4096;

/** The value of the pickle that begins at `start`, and where it ends. Broken or forbidden content is a `UserError`. */
export function unpickle(
  bytes: Uint8Array,
  options: UnpickleOptions,
  start = 0,
): { value: PickleItem; end: number } {
  return new Machine(bytes, options, start).run();
}

class Machine {
  private readonly input: PickleBytes;
  private readonly stack: (PickleItem | Mark)[] = [];
  private readonly memo = new Map<number, PickleItem>();

  constructor(
    bytes: Uint8Array,
    private readonly options: UnpickleOptions,
    start: number,
  ) {
    this.input = new PickleBytes(bytes, start, {
      broken: (what) => this.broken(what),
      ended: (what) => new PickleEnd(this.broken(what).message),
    });
  }

  run(): { value: PickleItem; end: number } {
    for (;;) {
      const opcode = this.input.take(1)[0];
      if (opcode === 0x2e) return { value: this.pop(), end: this.input.at }; // STOP
      this.step(opcode);
    }
  }

  private step(opcode: number): void {
    const { stack, input } = this;
    const { view } = input;
    switch (String.fromCharCode(opcode)) {
      case '\x80': // PROTO
        if (input.take(1)[0] > 5) throw this.broken('a pickle protocol above 5');
        return;
      case '\x95': // FRAME
        input.length64();
        return;
      case '(':
        stack.push(MARK);
        return;
      case '0': // POP
        if (stack.pop() === undefined) throw this.broken('an empty stack');
        return;
      case '1': // POP_MARK
        this.popToMark();
        return;
      case '2':
        stack.push(this.top());
        return;

      case 'N':
        stack.push(null);
        return;
      case '\x88':
        stack.push(true);
        return;
      case '\x89':
        stack.push(false);
        return;
      case 'J':
        stack.push(view.getInt32(input.skip(4), true));
        return;
      case 'K':
        stack.push(view.getUint8(input.skip(1)));
        return;
      case 'M':
        stack.push(view.getUint16(input.skip(2), true));
        return;
      case '\x8a':
        stack.push(wholeNumber(input.take(input.take(1)[0])));
        return;
      case '\x8b': // LONG4
        stack.push(this.longInteger(view.getInt32(input.skip(4), true)));
        return;
      case 'G':
        stack.push(new PyFloat(view.getFloat64(input.skip(8), false)));
        return;
      case 'I':
        stack.push(this.textInteger(input.line()));
        return;
      case 'L':
        stack.push(this.textInteger(input.line().replace(/L$/, '')));
        return;
      case 'F':
        stack.push(new PyFloat(Number(input.line())));
        return;

      case 'X':
        stack.push(text(input.take(view.getUint32(input.skip(4), true))));
        return;
      case '\x8c':
        stack.push(text(input.take(input.take(1)[0])));
        return;
      case '\x8d':
        stack.push(text(input.take(input.length64())));
        return;
      case 'V':
        stack.push(
          input
            .line()
            .replace(/\\u([0-9a-fA-F]{4})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 16))),
        );
        return;
      case 'S': {
        const line = input.line();
        stack.push(
          /^'[^'\\]*'$|^"[^"\\]*"$/.test(line) ? line.slice(1, -1) : this.fail(`the string ${line}`),
        );
        return;
      }
      case 'T': // Python 2's str: bytes that are text here
        stack.push(latin1(input.take(view.getInt32(input.skip(4), true))));
        return;
      case 'U':
        stack.push(latin1(input.take(input.take(1)[0])));
        return;
      case 'B':
        stack.push(input.take(view.getUint32(input.skip(4), true)).slice());
        return;
      case 'C':
        stack.push(input.take(input.take(1)[0]).slice());
        return;
      case '\x8e':
        stack.push(input.take(input.length64()).slice());
        return;

      case ')':
        stack.push(new PyTuple([]));
        return;
      case 't':
        stack.push(new PyTuple(this.popToMark() as PyValue[]));
        return;
      case '\x85':
        stack.push(new PyTuple(this.popMany(1)));
        return;
      case '\x86':
        stack.push(new PyTuple(this.popMany(2)));
        return;
      case '\x87':
        stack.push(new PyTuple(this.popMany(3)));
        return;
      case ']':
        stack.push([]);
        return;
      case 'l':
        stack.push(this.popToMark() as PyValue[]);
        return;
      case 'a': {
        const item = this.pop();
        this.list().push(item as PyValue);
        return;
      }
      case 'e': {
        const items = this.popToMark();
        const list = this.list();
        for (const item of items) list.push(item as PyValue);
        return;
      }
      case '}':
        stack.push(new Map());
        return;
      case 'd': {
        const map = new Map<PyValue, PyValue>();
        this.setItems(map, this.popToMark());
        stack.push(map);
        return;
      }
      case 's': {
        const pair = this.popMany(2);
        this.setItems(this.map(), pair);
        return;
      }
      case 'u': {
        const items = this.popToMark();
        this.setItems(this.map(), items);
        return;
      }
      case '\x8f':
        stack.push(new Set<PyValue>());
        return;
      case '\x90': {
        const items = this.popToMark();
        const set = this.top();
        if (!(set instanceof Set)) throw this.broken('items for something that is no set');
        for (const item of items) set.add(item as PyValue);
        return;
      }

      case 'q':
        this.memo.set(input.take(1)[0], this.top());
        return;
      case 'r':
        this.memo.set(view.getUint32(input.skip(4), true), this.top());
        return;
      case 'p':
        this.memo.set(Number(input.line()), this.top());
        return;
      case '\x94':
        this.memo.set(this.memo.size, this.top());
        return;
      case 'h':
        stack.push(this.recall(input.take(1)[0]));
        return;
      case 'j':
        stack.push(this.recall(view.getUint32(input.skip(4), true)));
        return;
      case 'g':
        stack.push(this.recall(Number(input.line())));
        return;

      case 'c': {
        const module = input.line();
        stack.push(this.global(module, input.line()));
        return;
      }
      case '\x93': {
        const [module, name] = this.popMany(2);
        if (typeof module !== 'string' || typeof name !== 'string')
          throw this.broken('a global without a name');
        stack.push(this.global(module, name));
        return;
      }
      case 'R':
      case '\x81': {
        const [callable, args] = this.popMany(2) as PickleItem[];
        if (!(callable instanceof Global)) throw this.broken('a call of something that is no name');
        if (!(args instanceof PyTuple)) throw this.broken('a call without a tuple of arguments');
        if (callable.construct === undefined)
          throw this.forbidden(callable.name, 'It is allowed as a name, not as a call.');
        stack.push(callable.construct(args.items));
        return;
      }
      case 'b':
        this.build();
        return;
      case 'Q':
        stack.push(this.options.persistentLoad(this.pop()));
        return;
      case 'P':
        stack.push(this.options.persistentLoad(input.line()));
        return;
      case 'i': {
        const module = input.line();
        throw this.forbidden(`${module}.${input.line()}`);
      }
      default:
        throw this.broken(`the opcode 0x${opcode.toString(16).padStart(2, '0')}`);
    }
  }

  /** Sets the state of the object on top, for the few kinds that have one. */
  private build(): void {
    const state = this.pop();
    const self = this.top();
    if (self instanceof Namespace) {
      if (!(state instanceof Map)) throw this.broken('a Namespace whose state is no dict');
      for (const [key, value] of state) {
        if (typeof key !== 'string') throw this.broken('a Namespace with a key that is no string');
        self.entries.set(key, value);
      }
    } else if (self instanceof OrderedDict) {
      if (!(state instanceof Map)) throw this.broken('an OrderedDict whose state is no dict');
      self.attributes = state;
    } else if (self instanceof BuildTarget || self instanceof NumpyArray) {
      const problem = (self as { build?(state: PickleItem): string | undefined }).build?.(state);
      if (problem !== undefined) throw this.broken(problem);
    } else {
      throw this.broken('a state for an object that has none');
    }
  }

  private global(module: string, name: string): Global {
    const found = this.options.findGlobal(module, name);
    if (found === null) throw this.forbidden(`${module}.${name}`);
    return found;
  }

  private forbidden(name: string, detail = 'Nothing of the file was run.'): UserError {
    return new UserError(
      'checkpoint',
      `${this.options.source} asks for the Python name ${name}, which is not on the list of harmless ones. ${detail} Save plain tensors, numbers, strings and containers instead.`,
    );
  }

  private broken(what: string): UserError {
    return new UserError(
      'checkpoint',
      `${this.options.source} is not a sound checkpoint: its pickle has ${what} at byte ${this.input.at}. The file is damaged or no pickle; fetch or save it again.`,
    );
  }

  private fail(what: string): never {
    throw this.broken(what);
  }

  private longInteger(bytes: number): PyValue {
    if (bytes > MOST_DIGITS) throw this.broken(`a whole number of ${bytes} bytes`);
    return wholeNumber(this.input.take(bytes));
  }

  private textInteger(line: string): PyValue {
    if (line === '01') return true;
    if (line === '00') return false;
    if (!/^-?\d{1,4096}$/.test(line)) throw this.broken(`the integer '${line.slice(0, 40)}'`);
    return narrow(BigInt(line));
  }

  private top(): PickleItem {
    const item = this.stack[this.stack.length - 1];
    if (item === undefined || item instanceof Mark) throw this.broken('an empty stack');
    return item;
  }

  private pop(): PickleItem {
    const item = this.top();
    this.stack.pop();
    return item;
  }

  private popMany(count: number): PyValue[] {
    const items: PickleItem[] = [];
    for (let i = 0; i < count; i++) items.unshift(this.pop());
    return items as PyValue[];
  }

  private popToMark(): PickleItem[] {
    const at = this.stack.lastIndexOf(MARK);
    if (at < 0) throw this.broken('no mark on the stack');
    const items = this.stack.splice(at) as PickleItem[];
    items.shift();
    return items;
  }

  private list(): PyValue[] {
    const list = this.top();
    if (!Array.isArray(list)) throw this.broken('items for something that is no list');
    return list;
  }

  private map(): Map<PyValue, PyValue> {
    const map = this.top();
    if (!(map instanceof Map)) throw this.broken('entries for something that is no dict');
    return map;
  }

  private setItems(map: Map<PyValue, PyValue>, items: readonly PickleItem[]): void {
    if (items.length % 2 !== 0) throw this.broken('a key without a value');
    for (let i = 0; i < items.length; i += 2) map.set(hashable(items[i]), items[i + 1] as PyValue);
  }

  private recall(index: number): PickleItem {
    const item = this.memo.get(index);
    if (item === undefined) throw this.broken(`a memo entry ${index} that was never stored`);
    return item;
  }
}

/** Whole float keys equal whole numbers in Python. */
function hashable(key: PickleItem): PyValue {
  return key instanceof PyFloat && Number.isSafeInteger(key.value) ? key.value : (key as PyValue);
}
