/** From a YAML file with its bases and trailing `A.B value` pairs to one checked, frozen configuration. */

import { dirname, isAbsolute, join, resolve } from 'node:path';
import type { z } from 'zod';
import { UserError } from '../errors.js';
import { type DeepReadonly, deepFreeze } from './freeze.js';
import { parseLiteral } from './literal.js';
import { type Finding, findingsOf, show } from './schema.js';
import { type Origin, readYaml } from './yaml-file.js';

export interface LoadOptions<Schema extends z.ZodType> {
  readonly schema: Schema;
  /** Flat list `['MODEL.SPEC.WINDOW_SIZE', '14', ...]`, values as typed. */
  readonly overrides?: readonly string[];
}

export interface LoadedConfig<T> {
  readonly value: DeepReadonly<T>;
  /** The files that were read, bases first. */
  readonly files: readonly string[];
  /** Dotted path of every value that somebody wrote -> where. */
  readonly origins: ReadonlyMap<string, Origin>;
}

type Tree = Record<string, unknown>;

/** The key that names the files to start from, relative to the file that holds it. */
const BASE = 'BASE';
const COMMAND_LINE = 'the command line';

/**
 * Loads `path` (or nothing but overrides where it is undefined): bases first and in order, each later value in
 * place of an earlier one, maps merged, lists replaced. Throws `UserError('config')` naming file, line and
 * column for unreadable files, bases that form a circle, unknown keys and values that the schema refuses.
 */
export function loadConfig<Schema extends z.ZodType>(
  path: string | undefined,
  { schema, overrides = [] }: LoadOptions<Schema>,
): LoadedConfig<z.output<Schema>> {
  const tree: Tree = {};
  const origins = new Map<string, Origin>();
  const files: string[] = [];
  if (path !== undefined) mergeFile(path, [], { tree, origins, files });
  applyOverrides(tree, origins, overrides);
  const parsed = schema.safeParse(tree);
  if (!parsed.success) throw configError(findingsOf(schema, parsed.error, tree), origins);
  return { value: deepFreeze(parsed.data), files, origins };
}

interface Target {
  readonly tree: Tree;
  readonly origins: Map<string, Origin>;
  readonly files: string[];
}

function mergeFile(path: string, parents: readonly string[], target: Target): void {
  const absolute = resolve(path);
  if (parents.includes(absolute)) {
    const circle = [...parents.slice(parents.indexOf(absolute)), absolute].join(' -> ');
    throw new UserError('config', `${BASE} files form a circle: ${circle}. Take one of them out.`);
  }
  const file = readYaml(path);
  for (const base of basesOf(file.tree[BASE], file.origins.get(BASE)?.value ?? path))
    mergeFile(isAbsolute(base) ? base : join(dirname(path), base), [...parents, absolute], target);
  const { [BASE]: _bases, ...own } = file.tree;
  merge(target.tree, own, '', (dotted) => {
    const origin = nearestOrigin(file.origins, dotted);
    if (origin !== undefined) target.origins.set(dotted, origin);
  });
  for (const [dotted, origin] of file.origins)
    if (/\.\d+(\.|$)/.test(dotted)) target.origins.set(dotted, origin);
  if (!target.files.includes(path)) target.files.push(path);
}

function basesOf(value: unknown, place: string): string[] {
  if (value === undefined || value === null) return [];
  const bases = Array.isArray(value) ? value : [value];
  if (!bases.every((base) => typeof base === 'string'))
    throw new UserError(
      'config',
      `${place}: ${BASE} expected a list of file names but received ${show(value)}.`,
    );
  return bases.filter((base) => base !== '');
}

/** Writes `source` over `target`; `note` hears the dotted path of every key that was written. */
function merge(target: Tree, source: Tree, prefix: string, note: (dotted: string) => void): void {
  for (const [key, value] of Object.entries(source)) {
    const dotted = prefix === '' ? key : `${prefix}.${key}`;
    note(dotted);
    const before = target[key];
    if (isTree(value)) {
      const inner: Tree = isTree(before) ? before : {};
      target[key] = inner;
      merge(inner, value, dotted, note);
    } else {
      target[key] = value;
    }
  }
}

function applyOverrides(tree: Tree, origins: Map<string, Origin>, overrides: readonly string[]): void {
  for (let index = 0; index < overrides.length; index += 2) {
    const dotted = overrides[index];
    const text = overrides[index + 1];
    if (text === undefined)
      throw new UserError('config', `The override ${dotted} has no value; write ${dotted} VALUE.`);
    const keys = dotted.split('.');
    if (keys.some((key) => key === '' || key === '__proto__') || keys[0] === BASE)
      throw new UserError(
        'config',
        `Expected an override like MODEL.SPEC.WINDOW_SIZE 14 but received ${show(dotted)}.`,
      );
    let at = tree;
    for (const key of keys.slice(0, -1)) {
      const inner = at[key];
      if (inner !== undefined && !isTree(inner))
        throw new UserError(
          'config',
          `The override ${dotted} goes through ${key}, which holds ${show(inner)} and no keys.`,
        );
      const next: Tree = isTree(inner) ? inner : {};
      at[key] = next;
      at = next;
    }
    at[keys[keys.length - 1]] = parseLiteral(text);
    origins.set(dotted, { source: COMMAND_LINE, key: COMMAND_LINE, value: COMMAND_LINE });
  }
}

function configError(findings: readonly Finding[], origins: ReadonlyMap<string, Origin>): UserError {
  const shown = findings.slice(0, MOST_SHOWN).map((finding) => sentence(finding, origins));
  if (findings.length > MOST_SHOWN) shown.push(`... and ${findings.length - MOST_SHOWN} more.`);
  return new UserError('config', shown.join('\n'));
}

const MOST_SHOWN = 5;

function sentence(finding: Finding, origins: ReadonlyMap<string, Origin>): string {
  const dotted = finding.path.map(String).join('.');
  const origin = nearestOrigin(origins, dotted);
  const place = origin === undefined ? '' : `${finding.kind === 'unknown-key' ? origin.key : origin.value}: `;
  if (finding.kind === 'unknown-key') return `${place}unknown key ${dotted}.${finding.hint}`;
  return `${place}${dotted} ${finding.message}.${finding.hint}`;
}

/** The origin of `dotted`, or of the closest value that contains it. */
function nearestOrigin(origins: ReadonlyMap<string, Origin>, dotted: string): Origin | undefined {
  for (let path = dotted; path !== ''; path = path.slice(0, Math.max(0, path.lastIndexOf('.')))) {
    const origin = origins.get(path);
    if (origin !== undefined) return origin;
  }
  return undefined;
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
