/** Writes src/torch/ops.gen.ts: typed wrappers for the operators of ops.ts, from the registry's own schemas. */

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { SchemaDescription } from '../src/torch/binding.js';
import { OPERATORS } from './ops.js';

type Argument = SchemaDescription['arguments'][number];

// Not through src/torch: the generator must run while ops.gen.ts is missing or out of date.
const addon = createRequire(import.meta.url)('../build/Release/esvit.node') as {
  schemas(names: string[]): (SchemaDescription | null)[];
};

const camel = (name: string) =>
  name.replace(/^_+/, '').replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

const RESERVED = new Set(['default', 'function', 'in', 'new', 'this', 'with']);
const parameterName = (name: string) => (RESERVED.has(name) ? `${camel(name)}_` : camel(name));

function argumentType({ name, type, size }: Argument): string {
  const optional = /^Optional\[(.*)\]$/.exec(type);
  if (optional) {
    const inner = argumentType({ name, type: optional[1], size } as Argument);
    return inner.includes('null') ? inner : `${inner} | null`;
  }
  switch (type) {
    case 'Tensor':
      return 'TensorBase | Scalar';
    case 'List[Tensor]':
      return 'readonly TensorBase[]';
    case 'List[Optional[Tensor]]':
      return 'readonly (TensorBase | null)[]';
    case 'int':
    case 'SymInt':
      if (name === 'dtype') return 'DType';
      if (name === 'layout') return "'strided'";
      if (name === 'memory_format') return 'MemoryFormat';
      return 'number | bigint';
    case 'List[int]':
    case 'List[SymInt]':
      return size > 0 ? 'readonly number[] | number' : 'readonly number[]';
    case 'List[float]':
      return 'readonly number[]';
    case 'List[bool]':
      return 'readonly boolean[]';
    case 'number':
    case 'Scalar':
      return 'Scalar';
    case 'List[number]':
    case 'List[Scalar]':
      return 'readonly Scalar[]';
    case 'float':
      return 'number';
    case 'bool':
      return 'boolean';
    case 'str':
      return 'string';
    case 'Device':
    case 'device':
      return 'Device';
    case 'Generator':
      return 'Generator';
    default:
      throw new Error(`no TypeScript type for ${type} of ${name}`);
  }
}

function returned(returns: SchemaDescription['returns']): { type: string; wrap: (value: string) => string } {
  const kinds = returns.map(({ type }): [string, (value: string) => string] => {
    if (type === 'Tensor') return ['Tensor', (value) => `new Tensor(${value} as Handle)`];
    if (type === 'List[Tensor]')
      return ['Tensor[]', (value) => `(${value} as Handle[]).map((handle) => new Tensor(handle))`];
    if (type === 'bool') return ['boolean', (value) => `${value} as boolean`];
    if (type === 'float') return ['number', (value) => `${value} as number`];
    if (type === 'int' || type === 'SymInt')
      return ['number | bigint', (value) => `${value} as number | bigint`];
    if (type === 'number' || type === 'Scalar')
      return ['number | bigint | boolean', (value) => `${value} as number | bigint | boolean`];
    throw new Error(`no TypeScript type for a result of ${type}`);
  });
  if (kinds.length === 1) return { type: kinds[0][0], wrap: kinds[0][1] };
  return {
    type: `[${kinds.map(([type]) => type).join(', ')}]`,
    wrap: (value) => {
      const items = kinds.map(([, wrap], i) => wrap(`results[${i}]`)).join(', ');
      return `pack(${value} as unknown[], (results) => [${items}])`;
    },
  };
}

function generate(jsName: string, atenName: string, schema: SchemaDescription) {
  const [base, overload = ''] = atenName.split('.');
  const constant = `$${jsName}`;
  const names = schema.arguments.map(({ name }) => `'${name}'`).join(', ');
  const declaration = `const ${constant} = operator('${base}', '${overload}', [${names}]);`;

  const isMethod = schema.arguments[0]?.name === 'self' && schema.arguments[0].type === 'Tensor';
  const positional = schema.arguments.filter(
    (argument, i) => !argument.keywordOnly && !(isMethod && i === 0),
  );
  const keywords = schema.arguments.filter(({ keywordOnly }) => keywordOnly);
  // A required argument cannot follow one with a default: from the first default on, all are optional.
  let optionalSeen = false;
  const parameters = positional.map((argument) => {
    optionalSeen ||= argument.hasDefault || argument.type.startsWith('Optional');
    return `${parameterName(argument.name)}${optionalSeen ? '?' : ''}: ${argumentType(argument)}`;
  });
  if (keywords.length > 0) {
    const fields = keywords.map((argument) => {
      const optional = argument.hasDefault || argument.type.startsWith('Optional') ? '?' : '';
      return `${parameterName(argument.name)}${optional}: ${argumentType(argument)}`;
    });
    const required = fields.some((field) => !field.includes('?:'));
    parameters.push(`options: { ${fields.join('; ')} }${required ? '' : ' = {}'}`);
  }
  const values = schema.arguments.map((argument, i) => {
    if (isMethod && i === 0) return 'this';
    return argument.keywordOnly ? `options.${parameterName(argument.name)}` : parameterName(argument.name);
  });
  const args = [constant, ...values].join(', ');

  const inPlace = isMethod && schema.arguments[0].written;
  const head = `${jsName}(${parameters.join(', ')})`;
  let type: string;
  let body: string;
  if (inPlace) {
    type = 'this';
    body = `run(${args});\n    return this;`;
  } else if (schema.returns.length === 0) {
    type = 'void';
    body = `run(${args});`;
  } else {
    const result = returned(schema.returns);
    type = result.type;
    body = `return ${result.wrap(`call(${args})`)};`;
  }
  const doc = `/** ${schema.text} */`;
  return isMethod
    ? { declaration, method: `  ${doc}\n  ${head}: ${type} {\n    ${body}\n  }` }
    : {
        declaration,
        method: undefined,
        fn: `${doc}\nexport function ${head}: ${type} {\n  ${body.replace(/\n {4}/g, '\n  ')}\n}`,
      };
}

export function generated(): string {
  const entries = OPERATORS.trim()
    .split('\n')
    .map((line) => {
      const [left, right] = line.split('=').map((part) => part.trim());
      return { jsName: right === undefined ? camel(left) : left, aten: `aten::${right ?? left}` };
    });
  const schemas = addon.schemas(entries.map(({ aten }) => aten));
  const results = entries.map(({ jsName, aten }, i) => {
    const schema = schemas[i];
    if (schema === null) throw new Error(`the registry has no ${aten}`);
    return generate(jsName, aten, schema);
  });
  return `// Generated by scripts/generate-ops.ts from the registry of libtorch; do not edit.

import { call, operator, run, TensorBase } from './base.js';
import type { Handle } from './binding.js';
import type { Device, DType, MemoryFormat, Scalar } from './dtype.js';
import type { Generator } from './rng.js';

const pack = <T>(results: unknown[], build: (results: unknown[]) => T): T => build(results);

${results.map(({ declaration }) => declaration).join('\n')}

/** A tensor of libtorch. Methods are operators of ATen; their doc comments are the registry's schemas. */
export class Tensor extends TensorBase {
  protected wrap(handle: Handle): Tensor {
    return new Tensor(handle);
  }

${results.flatMap(({ method }) => method ?? []).join('\n\n')}
}

${results.flatMap(({ fn }) => fn ?? []).join('\n\n')}
`;
}

const target = fileURLToPath(new URL('../src/torch/ops.gen.ts', import.meta.url));
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--check')) {
    if (readFileSync(target, 'utf8') !== generated()) {
      console.error('src/torch/ops.gen.ts is out of date: run `npm run generate-ops` and commit the result.');
      process.exit(1);
    }
  } else {
    writeFileSync(target, generated());
  }
}
