/** From a command's schema to its flags: what each takes, its default and its help text. */

import { z } from 'zod';
import { unwrap } from '../config/index.js';
import { internal } from '../errors.js';

export interface Flag {
  /** The schema's key, in snake_case; also the flag as shown in help: `--key`. */
  readonly key: string;
  readonly kind: 'boolean' | 'number' | 'text';
  /** Whether it takes several values. */
  readonly list: boolean;
  readonly choices: readonly string[];
  readonly default: unknown;
  /** Whether the schema wants a value and has none of its own. */
  readonly required: boolean;
  readonly description: string;
  readonly group: string | undefined;
}

/** One flag per field of the schema, in its order. Throws `internal` for a field that no flag can carry. */
export function flagsOf(schema: z.ZodObject): Flag[] {
  return Object.entries(schema.shape).map(([key, field]) => {
    const bare = unwrap(field);
    const list = bare instanceof z.ZodArray;
    const item = list ? unwrap(bare.def.element) : bare;
    const { description, group } = metaOf(field);
    return {
      key,
      list,
      description,
      group,
      ...kindOf(item, key),
      default: defaultOf(field),
      required: !(field instanceof z.ZodType) || !field.safeParse(undefined).success,
    };
  });
}

function kindOf(item: z.core.$ZodType, key: string): Pick<Flag, 'kind' | 'choices'> {
  if (item instanceof z.ZodBoolean) return { kind: 'boolean', choices: [] };
  if (item instanceof z.ZodNumber) return { kind: 'number', choices: [] };
  if (item instanceof z.ZodString) return { kind: 'text', choices: [] };
  if (item instanceof z.ZodEnum) return { kind: 'text', choices: item.options.map(String) };
  throw internal(`the option ${key} is neither text, number, boolean, enum nor a list of these`);
}

/** The help text and heading of a field, wherever in its chain of wrappers they were attached. */
function metaOf(field: z.core.$ZodType): { description: string; group: string | undefined } {
  let description = '';
  let group: string | undefined;
  for (let at: z.core.$ZodType | undefined = field; at !== undefined; at = innerOf(at)) {
    const meta = z.globalRegistry.get(at);
    description ||= meta?.description ?? '';
    if (typeof meta?.group === 'string') group ??= meta.group;
  }
  return { description, group };
}

function defaultOf(field: z.core.$ZodType): unknown {
  for (let at: z.core.$ZodType | undefined = field; at !== undefined; at = innerOf(at))
    if (at instanceof z.ZodDefault || at instanceof z.ZodPrefault) return at.def.defaultValue;
  return undefined;
}

function innerOf(schema: z.core.$ZodType): z.core.$ZodType | undefined {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodReadonly
  )
    return schema.def.innerType;
  return undefined;
}
