/** Looking into zod schemas: what lies under the wrappers, which keys are known at a path, what an issue says. */

import { z } from 'zod';
import { didYouMean } from '../errors.js';

export type Path = readonly PropertyKey[];

/** The schema under `.optional()`, `.default()`, `.nullable()`, `.readonly()`, `.pipe()` and the like. */
export function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodReadonly
  )
    return unwrap(schema.def.innerType);
  if (schema instanceof z.ZodPipe) {
    const isTransformFirst = schema.def.in instanceof z.ZodTransform;
    return unwrap(isTransformFirst ? schema.def.out : schema.def.in);
  }
  return schema;
}

/** The schemas that may stand at `path` (several under a union). */
export function schemasAt(schema: z.core.$ZodType, path: Path): z.core.$ZodType[] {
  const bare = unwrap(schema);
  if (bare instanceof z.ZodUnion) return bare.def.options.flatMap((option) => schemasAt(option, path));
  if (path.length === 0) return [bare];
  const [key, ...rest] = path;
  if (bare instanceof z.ZodObject) {
    const field = bare.shape[String(key)] ?? bare.def.catchall;
    return field === undefined ? [] : schemasAt(field, rest);
  }
  if (bare instanceof z.ZodArray) return schemasAt(bare.def.element, rest);
  if (bare instanceof z.ZodRecord) return schemasAt(bare.def.valueType, rest);
  return [];
}

/** The keys that the schema names at `path`. */
export function knownKeys(schema: z.core.$ZodType, path: Path): string[] {
  const keys = schemasAt(schema, path).flatMap((at) =>
    at instanceof z.ZodObject ? Object.keys(at.shape) : [],
  );
  return [...new Set(keys)];
}

export interface Finding {
  /** Where: the path of the value, or of the unknown key. */
  readonly path: Path;
  readonly kind: 'unknown-key' | 'bad-value' | 'missing';
  /** Without a full stop and without the place, e.g. "expected number but received 'abc'". */
  readonly message: string;
  /** " Did you mean 'x'?" or the known keys, or empty. */
  readonly hint: string;
}

/** The issues of a failed parse of `input`, in words. */
export function findingsOf(schema: z.core.$ZodType, error: z.core.$ZodError, input: unknown): Finding[] {
  return error.issues.flatMap((issue) => findingsOfIssue(schema, issue, input, []));
}

function findingsOfIssue(
  schema: z.core.$ZodType,
  issue: z.core.$ZodIssue,
  input: unknown,
  prefix: Path,
): Finding[] {
  const path = [...prefix, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, path);
    return issue.keys.map((key) => ({
      path: [...path, key],
      kind: 'unknown-key',
      message: 'unknown key',
      hint: didYouMean(key, known) || (known.length > 0 ? ` Known keys: ${known.join(', ')}.` : ''),
    }));
  }
  if (issue.code === 'invalid_union') {
    const branch = likeliestBranch(issue.errors);
    if (branch !== undefined) return branch.flatMap((inner) => findingsOfIssue(schema, inner, input, path));
  }
  const value = valueAt(input, path);
  if (value === undefined) return [{ path, kind: 'missing', message: 'is missing', hint: '' }];
  return [{ path, kind: 'bad-value', ...describeIssue(issue, value) }];
}

/** Of a union's branches the one that came furthest: its first issue lies deepest. */
function likeliestBranch(branches: z.core.$ZodIssue[][]): z.core.$ZodIssue[] | undefined {
  const isScalar = branches.every((issues) => issues.every((issue) => issue.path.length === 0));
  if (isScalar) return undefined;
  return [...branches].sort((a, b) => (b[0]?.path.length ?? 0) - (a[0]?.path.length ?? 0))[0];
}

const TYPE_NAMES: Partial<Record<string, string>> = {
  number: 'a number',
  int: 'a whole number',
  boolean: 'True or False',
  string: 'a text',
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
};

function describeIssue(issue: z.core.$ZodIssue, value: unknown): { message: string; hint: string } {
  const came = show(value);
  if (issue.code === 'invalid_type') {
    const isFraction = issue.expected === 'int' || ('format' in issue && issue.format === 'safeint');
    const expected = isFraction ? 'a whole number' : (TYPE_NAMES[issue.expected] ?? issue.expected);
    return { message: `expected ${expected} but received ${came}`, hint: '' };
  }
  if (issue.code === 'invalid_value') {
    const choices = issue.values.map(String);
    const hint = typeof value === 'string' ? didYouMean(value, choices) : '';
    return { message: `expected one of ${choices.join(', ')} but received ${came}`, hint };
  }
  if (issue.code === 'too_small' || issue.code === 'too_big') {
    const least = issue.code === 'too_small';
    const bound = least ? issue.minimum : issue.maximum;
    const relation = least
      ? issue.inclusive === false
        ? 'more than'
        : 'at least'
      : issue.inclusive === false
        ? 'less than'
        : 'at most';
    const what =
      issue.origin === 'array'
        ? ` ${bound === 1 ? 'value' : 'values'}`
        : issue.origin === 'string'
          ? ' characters'
          : '';
    return { message: `expected ${relation} ${bound}${what} but received ${came}`, hint: '' };
  }
  if (issue.code === 'custom') return { message: `${issue.message} (received ${came})`, hint: '' };
  return { message: `${issue.message} (received ${came})`, hint: '' };
}

/** A value as a person would write it, cut where it is long. */
export function show(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 60 ? `${value.slice(0, 57)}...` : value}'`;
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

export function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}
