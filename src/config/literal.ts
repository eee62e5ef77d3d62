/** Values typed on a command line, read as Python literals: what `A.B value` means to users of yacs. */

/** What a literal can be; tuples become arrays, `None` becomes null. */
export type Literal = null | boolean | number | string | Literal[] | { [key: string]: Literal };

/**
 * Reads `14`, `1e-6`, `0x1f`, `True`, `None`, `'text'`, `[1, 2]`, `(0.05, 0.4)`, `1, 2` or `{'a': 1}`. Anything
 * that is no Python literal is the string itself, except `true` and `false`, which are taken as booleans.
 */
export function parseLiteral(text: string): Literal {
  const trimmed = text.trim();
  if (trimmed === 'true') return true;
  if (trimmed === 'false') return false;
  const reader = new LiteralReader(trimmed);
  const value = reader.whole();
  return value === undefined ? text : value;
}

const NUMBER =
  /[-+]?(?:0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|(?:(?:0|[1-9](?:_?\d)*)(?:\.(?:\d(?:_?\d)*)?)?|\.\d(?:_?\d)*)(?:[eE][-+]?\d+)?)(?![\w.])/y;
const WORD = /(?:None|True|False)(?!\w)/y;
const STRING = /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/y;
const ESCAPES: Record<string, string> = {
  n: '\n',
  t: '\t',
  r: '\r',
  '0': '\0',
  '\\': '\\',
  "'": "'",
  '"': '"',
};
const WORDS: Record<string, Literal> = { None: null, True: true, False: false };

/** Recursive descent; every method returns undefined where the text is no literal. */
class LiteralReader {
  private at = 0;
  constructor(private readonly text: string) {}

  whole(): Literal | undefined {
    const first = this.value();
    if (first === undefined) return undefined;
    this.space();
    if (this.at === this.text.length) return first;
    if (!this.take(',')) return undefined;
    const rest = this.items('');
    return rest === undefined ? undefined : [first, ...rest];
  }

  private value(): Literal | undefined {
    this.space();
    if (this.take('[')) return this.items(']');
    if (this.take('(')) return this.parenthesis();
    if (this.take('{')) return this.entries();
    const quoted = this.match(STRING);
    if (quoted !== undefined)
      return quoted.slice(1, -1).replace(/\\(.)/g, (whole, letter: string) => ESCAPES[letter] ?? whole);
    const word = this.match(WORD);
    if (word !== undefined) return WORDS[word];
    const number = this.match(NUMBER);
    return number === undefined ? undefined : toNumber(number);
  }

  /** Up to `close` ('' is the end of the text); a comma may trail. */
  private items(close: string): Literal[] | undefined {
    const items: Literal[] = [];
    for (;;) {
      if (this.closes(close)) return items;
      const item = this.value();
      if (item === undefined) return undefined;
      items.push(item);
      if (this.closes(close)) return items;
      if (!this.take(',')) return undefined;
    }
  }

  /** `()` and `(1,)` are tuples, `(1)` is a number in brackets. */
  private parenthesis(): Literal | undefined {
    const start = this.at;
    const items = this.items(')');
    if (items === undefined || items.length !== 1) return items;
    return /,\s*\)$/.test(this.text.slice(start, this.at)) ? items : items[0];
  }

  private entries(): Literal | undefined {
    const entries: [string, Literal][] = [];
    for (;;) {
      if (this.closes('}')) return Object.fromEntries(entries);
      const key = this.value();
      if (typeof key !== 'string' && typeof key !== 'number') return undefined;
      this.space();
      if (!this.take(':')) return undefined;
      const value = this.value();
      if (value === undefined) return undefined;
      entries.push([String(key), value]);
      if (this.closes('}')) return Object.fromEntries(entries);
      if (!this.take(',')) return undefined;
    }
  }

  private closes(close: string): boolean {
    this.space();
    return close === '' ? this.at === this.text.length : this.take(close);
  }

  private take(letter: string): boolean {
    if (this.text[this.at] !== letter) return false;
    this.at++;
    return true;
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    if (found !== undefined) this.at += found.length;
    return found;
  }

  private space(): void {
    while (this.at < this.text.length && /\s/.test(this.text[this.at])) this.at++;
  }
}

function toNumber(text: string): number {
  const plain = text.replaceAll('_', '');
  const sign = plain.startsWith('-') ? -1 : 1;
  return sign * Number(plain.replace(/^[-+]/, ''));
}
