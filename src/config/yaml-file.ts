/** One YAML file as plain values, with the line and column of every key and value. */

import { readFileSync } from 'node:fs';
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { messageOf, UserError } from '../errors.js';

/** Where a value was written: a place in a file, or the command line. */
export interface Origin {
  readonly source: string;
  readonly key: string;
  readonly value: string;
}

export interface ConfigFile {
  readonly path: string;
  readonly tree: Record<string, unknown>;
  /** Dotted path -> "file:line:column" of the key and of the value. */
  readonly origins: ReadonlyMap<string, Origin>;
}

/** Reads `path` by YAML 1.1's rules (yes/no, octal), as PyYAML does. Throws `UserError` with the place of a fault. */
export function readYaml(path: string): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(readText(path), {
    version: '1.1',
    schema: 'yaml-1.1',
    lineCounter: lines,
    prettyErrors: false,
  });
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  const fault = document.errors[0];
  if (fault !== undefined)
    throw new UserError('config', `${place(fault.pos[0])}: this is not valid YAML: ${fault.message}.`);

  const origins = new Map<string, Origin>();
  const visit = (node: Node | null | undefined, prefix: string): void => {
    if (isAlias(node)) {
      visit(node.resolve(document), prefix);
    } else if (isMap(node)) {
      for (const { key, value } of node.items) {
        const name = isScalar(key) ? String(key.value) : undefined;
        if (name === '__proto__')
          throw new UserError('config', `${path}: the key '__proto__' is not allowed; rename it.`);
        if (name === undefined || name === '<<') continue;
        const inner = value as Node | null;
        const dotted = prefix === '' ? name : `${prefix}.${name}`;
        const keyPlace = place((key as Node).range?.[0] ?? 0);
        const valuePlace =
          inner?.range === undefined || inner.range === null ? keyPlace : place(inner.range[0]);
        origins.set(dotted, { source: path, key: keyPlace, value: valuePlace });
        visit(inner, dotted);
      }
    } else if (isSeq(node)) {
      node.items.forEach((item, index) => {
        const inner = item as Node;
        const at = place(inner.range?.[0] ?? 0);
        origins.set(`${prefix}.${index}`, { source: path, key: at, value: at });
        visit(inner, `${prefix}.${index}`);
      });
    }
  };
  visit(document.contents as Node | null, '');

  let tree: unknown;
  try {
    tree = document.toJS() ?? {};
  } catch (error) {
    throw new UserError('config', `${path}: this YAML cannot be resolved: ${messageOf(error)}.`, {
      cause: error,
    });
  }
  if (typeof tree !== 'object' || tree === null || Array.isArray(tree))
    throw new UserError('config', `${path}: expected a mapping of keys to values at the top of the file.`);
  return { path, tree: tree as Record<string, unknown>, origins };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const why =
      code === 'ENOENT'
        ? 'there is no such file'
        : code === 'EISDIR'
          ? 'it is a folder, not a YAML file'
          : messageOf(error);
    throw new UserError('config', `cannot read the configuration ${path}: ${why}.`, { cause: error });
  }
}
