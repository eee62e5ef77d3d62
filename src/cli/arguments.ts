/** From the words of a command line to checked options, by the command's schema. */

import { Option, Command as Parser } from 'commander';
import { findingsOf, parseLiteral, show } from '../config/index.js';
import { UserError } from '../errors.js';
import type { Command } from './command.js';
import { type Flag, flagsOf } from './flags.js';
import { FALSE, normalise, TRUE } from './words.js';

/** Flags that every command has. */
export const COMMON_FLAGS: readonly Flag[] = [
  common('json', 'Print one JSON object with the result on stdout, and all else on stderr'),
  common('quiet', 'Print results and warnings only'),
  common('help', 'Show this help'),
];

function common(key: string, description: string): Flag {
  return {
    key,
    kind: 'boolean',
    list: false,
    choices: [],
    default: undefined,
    required: false,
    description,
    group: 'General:',
  };
}

export interface Arguments {
  readonly options: Record<string, unknown>;
  readonly given: ReadonlySet<string>;
  readonly overrides: readonly string[];
  readonly common: { readonly json: boolean; readonly quiet: boolean; readonly help: boolean };
}

/**
 * Reads `argv` (without the command's name). Throws `UserError('usage')` for unknown flags, missing or bad
 * values and surplus arguments. With `--help` nothing else is checked.
 */
export function parseArguments(command: Command, argv: readonly string[]): Arguments {
  const flags = [...flagsOf(command.options), ...COMMON_FLAGS];
  const words = normalise(command, flags, argv);
  const has = (key: string) => words.args.findLast((word) => word.startsWith(`--${key}=`));
  const common = { json: isOn(has('json')), quiet: isOn(has('quiet')), help: isOn(has('help')) };
  if (common.help) return { options: {}, given: new Set(), overrides: [], common };
  if (words.fault !== undefined) throw words.fault;

  const parser = parserOf(command, flags).exitOverride();
  parser.parse([...words.args], { from: 'user' });
  const texts = parser.opts<Record<string, string | string[]>>();
  const raw: Record<string, unknown> = {};
  for (const flag of flagsOf(command.options)) {
    const text = texts[flag.key];
    if (text !== undefined) raw[flag.key] = readValue(flag, text);
  }
  readPositionals(command, flags, words.positionals, raw);
  const parsed = command.options.safeParse(raw);
  if (!parsed.success) throw schemaError(command, parsed.error, raw);
  return { options: parsed.data, given: new Set(Object.keys(raw)), overrides: words.overrides, common };
}

/** The text of `esvit NAME --help`. */
export function helpOf(command: Command, columns = 100): string {
  const parser = parserOf(command, [...flagsOf(command.options), ...COMMON_FLAGS]);
  parser.configureHelp({ helpWidth: columns });
  const examples = command.examples.map((example) => `  ${example}`).join('\n');
  const text = parser.helpInformation();
  return examples === '' ? text : `${text}\nExamples:\n${examples}\n`;
}

function parserOf(command: Command, flags: readonly Flag[]): Parser {
  const parser = new Parser(`esvit ${command.name}`).description(command.summary).helpOption(false);
  parser.allowExcessArguments(true).configureOutput({ writeErr: () => {}, writeOut: () => {} });
  const places = (command.positionals ?? []).map((key) => {
    const flag = flags.find((candidate) => candidate.key === key);
    const name = flag?.list ? `${key}...` : key;
    return flag?.required ? `<${name}>` : `[${name}]`;
  });
  parser.usage([...places, '[flags]', command.overrides ? '[SECTION.FIELD value ...]' : ''].join(' ').trim());
  for (const flag of flags) {
    const option = new Option(`--${flag.key} ${placeholder(flag)}`, helpText(flag));
    if (flag.group !== undefined) option.helpGroup(flag.group.endsWith(':') ? flag.group : `${flag.group}:`);
    parser.addOption(option);
  }
  return parser;
}

function placeholder(flag: Flag): string {
  if (flag.kind === 'boolean') return '[bool]';
  const short = flag.choices.join('|');
  const name = flag.choices.length > 0 && short.length <= 30 ? short : flag.kind;
  return flag.list ? `<${name}...>` : `<${name}>`;
}

function helpText(flag: Flag): string {
  const choices =
    flag.choices.length > 0 && flag.choices.join('|').length > 30
      ? ` (one of ${flag.choices.join(', ')})`
      : '';
  const standard = flag.default;
  const required = flag.required ? ' (required)' : '';
  const hidden = standard === undefined || standard === '' || standard === false;
  const value = Array.isArray(standard) ? standard.join(' ') : standard === true ? 'True' : String(standard);
  return `${flag.description}${choices}${required}${hidden ? '' : ` (default: ${value})`}`;
}

function isOn(word: string | undefined): boolean {
  return word !== undefined && !FALSE.has(word.slice(word.indexOf('=') + 1).toLowerCase());
}

function readValue(flag: Flag, text: string | string[]): unknown {
  if (flag.list) {
    const texts = Array.isArray(text) ? text : [text];
    const parts = flag.kind === 'number' ? texts.flatMap((part) => part.split(',').filter(Boolean)) : texts;
    return parts.map((part) => scalar(flag, part));
  }
  return scalar(flag, Array.isArray(text) ? text[text.length - 1] : text);
}

function scalar(flag: Flag, text: string): unknown {
  if (flag.kind === 'boolean') {
    const word = text.toLowerCase();
    if (TRUE.has(word)) return true;
    if (FALSE.has(word)) return false;
    throw new UserError('usage', `Expected True or False for --${flag.key} but received ${show(text)}.`);
  }
  if (flag.kind === 'number') {
    const value = parseLiteral(text);
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw new UserError('usage', `Expected a number for --${flag.key} but received ${show(text)}.`);
  }
  return text;
}

function readPositionals(
  command: Command,
  flags: readonly Flag[],
  words: readonly string[],
  raw: Record<string, unknown>,
): void {
  const rest = [...words];
  for (const key of command.positionals ?? []) {
    const flag = flags.find((candidate) => candidate.key === key);
    if (flag === undefined || rest.length === 0) continue;
    raw[key] = flag.list
      ? rest.splice(0).map((word) => scalar(flag, word))
      : scalar(flag, rest.shift() as string);
  }
  if (rest.length > 0) {
    const example = command.overrides ? ' Overrides look like MODEL.SPEC.WINDOW_SIZE 14.' : '';
    throw new UserError(
      'usage',
      `Unexpected argument ${show(rest[0])} for 'esvit ${command.name}'.${example}`,
    );
  }
}

function schemaError(command: Command, error: Parameters<typeof findingsOf>[1], raw: unknown): UserError {
  const lines = findingsOf(command.options, error, raw).map((finding) => {
    const key = String(finding.path[0] ?? '');
    if (key === '') return `${finding.message}.`;
    const isPlace = command.positionals?.some((place) => place === key);
    if (finding.kind === 'missing' && finding.path.length === 1)
      return isPlace ? `<${key}> is missing.` : `--${key} is missing; add --${key} VALUE.`;
    return `--${key}: ${finding.message}.${finding.hint}`;
  });
  return new UserError('usage', lines.join('\n'));
}
