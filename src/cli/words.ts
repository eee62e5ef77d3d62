/** The words of a command line, put into the one form that commander reads as a person means it. */

import { parseLiteral } from '../config/index.js';
import { didYouMean, UserError } from '../errors.js';
import type { Command } from './command.js';
import type { Flag } from './flags.js';

export interface Words {
  /** `--key=value` only, in snake_case, every key known. */
  readonly args: readonly string[];
  readonly positionals: readonly string[];
  readonly overrides: readonly string[];
  /** The first mistake; held back so that `--help` is shown all the same. */
  readonly fault: UserError | undefined;
}

export const TRUE = new Set(['true', '1', 'on', 'yes']);
export const FALSE = new Set(['false', '0', 'off', 'no']);
const DOTTED = /^[A-Z][A-Z0-9_]*(\.[A-Za-z0-9_]+)+$/;
const CAPITALS = /^[A-Z][A-Z0-9_]*$/;

/**
 * What commander would read otherwise than a person means: `-` for `_` in names, flags that take a boolean or
 * not, negative numbers, lists that would swallow what follows, trailing overrides.
 */
export function normalise(command: Command, flags: readonly Flag[], argv: readonly string[]): Words {
  const byName = new Map(flags.map((flag) => [flag.key, flag]));
  for (const [alias, key] of Object.entries(command.aliases ?? {})) {
    const flag = byName.get(key);
    if (flag !== undefined) byName.set(alias, flag);
  }
  const takesPlaces = (command.positionals ?? []).length > 0;
  const args: string[] = [];
  const positionals: string[] = [];
  const overrides: string[] = [];
  let fault: UserError | undefined;
  const fail = (message: string) => {
    fault ??= new UserError('usage', message);
  };
  const isOverride = (word: string) =>
    command.overrides === true && (DOTTED.test(word) || (!takesPlaces && CAPITALS.test(word)));
  const isFlag = (word: string) => /^--?[A-Za-z]/.test(word);
  const isFree = (word: string | undefined): word is string =>
    word !== undefined && !isFlag(word) && word !== '--' && !isOverride(word);

  for (let index = 0; index < argv.length; index++) {
    const word = argv[index];
    if (word === '--') {
      positionals.push(...argv.slice(index + 1));
      break;
    }
    if (isOverride(word)) {
      const value = argv[++index];
      if (value === undefined) fail(`The override ${word} has no value; write ${word} VALUE.`);
      else overrides.push(word, value);
      continue;
    }
    if (!isFlag(word)) {
      positionals.push(word);
      continue;
    }
    const equals = word.indexOf('=');
    const typed = equals < 0 ? word : word.slice(0, equals);
    const name = typed === '-h' ? 'help' : typed.replace(/^--?/, '').replaceAll('-', '_');
    const flag = typed.startsWith('--') || typed === '-h' ? byName.get(name) : undefined;
    if (flag === undefined) {
      const hint = didYouMean(
        `--${name}`,
        [...byName.keys()].map((key) => `--${key}`),
      );
      fail(`Unknown flag ${typed} for 'esvit ${command.name}'.${hint}`);
      while (isFree(argv[index + 1])) index++;
      continue;
    }
    const push = (value: string) => args.push(`--${flag.key}=${value}`);
    const next = argv[index + 1];
    if (equals >= 0) {
      push(word.slice(equals + 1));
    } else if (flag.kind === 'boolean') {
      const isValue = next !== undefined && (isBoolean(next) || (!takesPlaces && isFree(next)));
      push(isValue ? argv[++index] : 'true');
    } else if (flag.list) {
      const before = index;
      while (isFree(argv[index + 1]) && (!takesPlaces || flag.kind !== 'number' || isNumber(argv[index + 1])))
        push(argv[++index]);
      if (index === before) fail(`--${flag.key} needs at least one value.`);
    } else if (next === undefined || next.startsWith('--')) {
      fail(`--${flag.key} needs a value.`);
    } else {
      push(argv[++index]);
    }
  }
  return { args, positionals, overrides, fault };
}

function isBoolean(word: string): boolean {
  return TRUE.has(word.toLowerCase()) || FALSE.has(word.toLowerCase());
}

function isNumber(word: string): boolean {
  return typeof parseLiteral(word) === 'number';
}
