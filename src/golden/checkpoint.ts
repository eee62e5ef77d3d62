/** Golden kind `checkpoint`: `.pth` files, what must come out of them, and what must not get in. */

import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.js';
import { scope, type Tensor, TensorBase } from '../torch/index.js';
import {
  Namespace,
  NumpyScalar,
  numberOf,
  OrderedDict,
  PyDType,
  PyFloat,
  PySize,
  PyTuple,
  type PyValue,
  readPth,
  TorchParameter,
} from '../weights/index.js';
import { type Check, compareNumbers, failed, type GoldenCase, jsonOf, passed } from './case.js';

interface Node {
  t: string;
  v?: unknown;
  items?: unknown[];
  dtype?: string;
  shape?: number[];
  stride?: number[];
  storage?: number;
  sum?: number | string;
  abs_sum?: number | string;
  first?: (number | string)[];
  last?: (number | string)[];
  requires_grad?: boolean;
}

const hostileSchema = z.array(
  z.looseObject({ file: z.string(), expect: z.enum(['reject', 'reject_or_safe', 'load']), why: z.string() }),
);

export function* runCheckpoint(golden: GoldenCase, folder: string): Generator<Check> {
  if (Array.isArray(golden.cases)) yield* runHostile(golden, folder);
  else {
    const expected = jsonOf<Node>(golden, folder, '.json');
    yield* scope(() => [...compare('$', readPth(join(folder, golden.files[0])), expected, new Storages())]);
  }
}

/** What the hostile files would leave in the folder for temporary files, if they could run. */
const TRACE = 'oracle-trace';

/** Longest time that a small hostile file may take, in seconds. */
const PATIENCE = 5;

function* runHostile(golden: GoldenCase, folder: string): Generator<Check> {
  const before = Object.getOwnPropertyNames(Object.prototype).join();
  for (const { file, expect, why } of hostileSchema.parse(golden.cases)) {
    const started = performance.now();
    const outcome = scope(() => tryRead(join(folder, file)));
    const seconds = (performance.now() - started) / 1000;
    if (outcome instanceof Error && !(outcome instanceof UserError))
      yield failed(file, `an error of ours instead of a refusal: ${outcome.message}`);
    else if (expect === 'reject' && !(outcome instanceof UserError))
      yield failed(file, `was accepted (${why})`);
    else if (expect === 'load' && outcome instanceof UserError)
      yield failed(file, `was refused: ${outcome.message}`);
    else if (seconds > PATIENCE) yield failed(file, `took ${seconds.toFixed(1)} s`);
    else if (Object.getOwnPropertyNames(Object.prototype).join() !== before)
      yield failed(file, 'changed Object.prototype');
    else yield passed(file);
  }
  const traces = readdirSync(tmpdir()).filter((name) => name.includes(TRACE));
  yield traces.length === 0
    ? passed('traces')
    : failed('traces', `a file ran a command: ${traces.join(', ')}`);
}

/** What the attempt threw; a value that was read stays inside, it may be nested beyond all walking. */
function tryRead(path: string): Error | null {
  try {
    readPth(path);
    return null;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Which memory the tensors so far lie in, under the golden file's numbers and ours. */
class Storages {
  private readonly ours = new Map<number, bigint>();
  private readonly theirs = new Map<bigint, number>();

  /** Whether two tensors share memory here exactly where they do there. */
  same(number: number, identity: bigint): boolean {
    const known = this.ours.get(number);
    const other = this.theirs.get(identity);
    if (known === undefined && other === undefined) {
      this.ours.set(number, identity);
      this.theirs.set(identity, number);
      return true;
    }
    return known === identity && other === number;
  }
}

function* compare(
  path: string,
  value: PyValue | undefined,
  node: Node,
  storages: Storages,
): Generator<Check> {
  const kind = kindOf(value);
  if (kind !== node.t) return yield failed(path, `is ${kind}, expected ${node.t}`);
  if (value instanceof TorchParameter) {
    yield* compareTensor(path, value.data, node, storages);
    yield exact(`${path}.requires_grad`, value.requiresGrad, node.requires_grad);
  } else if (value instanceof TensorBase) {
    yield* compareTensor(path, value as Tensor, node, storages);
  } else if (value instanceof Map || value instanceof Namespace) {
    const entries = [...(value instanceof Map ? value : value.entries)];
    const items = node.items as [unknown, Node][];
    if (entries.length !== items.length)
      return yield failed(path, `has ${entries.length} entries, expected ${items.length}`);
    for (const [i, [key, item]] of items.entries()) {
      yield exact(`${path} key ${i}`, entries[i][0], key);
      yield* compare(`${path}.${String(key)}`, entries[i][1] as PyValue, item, storages);
    }
  } else if (Array.isArray(value) || value instanceof PyTuple) {
    const own = Array.isArray(value) ? value : value.items;
    const items = node.items as Node[];
    if (own.length !== items.length)
      return yield failed(path, `has ${own.length} items, expected ${items.length}`);
    for (const [i, item] of items.entries()) yield* compare(`${path}[${i}]`, own[i], item, storages);
  } else if (value instanceof PySize) {
    yield exact(path, JSON.stringify(value.dims), JSON.stringify(node.v));
  } else if (value instanceof PyDType) {
    yield exact(path, `torch.${value.dtype}`, node.v);
  } else if (value instanceof NumpyScalar) {
    yield exact(`${path}.dtype`, value.dtype, node.dtype);
    if (typeof value.value === 'boolean') yield exact(path, value.value, node.v);
    else yield exact(path, Number(value.value), asNumber(node.v));
  } else if (value instanceof PyFloat) {
    yield Object.is(value.value, asNumber(node.v))
      ? passed(path)
      : failed(path, `is ${value.value}, expected ${node.v}`);
  } else if (typeof value === 'bigint') {
    yield exact(path, String(value), String(node.v));
  } else {
    yield exact(path, value, node.v);
  }
}

function* compareTensor(path: string, tensor: Tensor, node: Node, storages: Storages): Generator<Check> {
  yield exact(`${path}.dtype`, tensor.dtype, node.dtype);
  yield exact(`${path}.shape`, tensor.shape.join(), (node.shape ?? []).join());
  yield exact(`${path}.stride`, tensor.strides.join(), (node.stride ?? []).join());
  if (
    node.storage !== undefined &&
    tensor.storage.bytes > 0 &&
    !storages.same(node.storage, tensor.storage.identity)
  )
    yield failed(`${path}.storage`, `shares memory otherwise than storage ${node.storage} does`);
  const values = Array.from(tensor.to({ dtype: 'float64' }).toArray(), Number);
  const first = (node.first ?? []).map(asNumber);
  const last = (node.last ?? []).map(asNumber);
  yield values.slice(0, first.length).every((value, i) => Object.is(value, first[i])) &&
  values.slice(values.length - last.length).every((value, i) => Object.is(value, last[i]))
    ? passed(`${path}.values`)
    : failed(
        `${path}.values`,
        `are ${values.slice(0, first.length).join(', ')}, expected ${first.join(', ')}`,
      );
  for (const [name, sum, golden] of [
    ['sum', values.reduce((a, b) => a + b, 0), asNumber(node.sum)],
    ['abs_sum', values.reduce((a, b) => a + Math.abs(b), 0), asNumber(node.abs_sum)],
  ] as const)
    if (Number.isFinite(golden)) yield compareNumbers(`${path}.${name}`, [sum], [golden], 1e-12, 1e-12);
    else yield exact(`${path}.${name}`, String(sum), String(golden));
}

function kindOf(value: PyValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'NoneType';
  if (value instanceof OrderedDict) return 'OrderedDict';
  if (value instanceof Map) return 'dict';
  if (Array.isArray(value)) return 'list';
  if (value instanceof PyTuple) return 'tuple';
  if (value instanceof Namespace) return 'Namespace';
  if (value instanceof PyFloat) return 'float';
  if (value instanceof PySize) return 'size';
  if (value instanceof PyDType) return 'dtype';
  if (value instanceof NumpyScalar) return 'numpy';
  if (value instanceof TorchParameter) return 'parameter';
  if (value instanceof TensorBase) return 'tensor';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'string') return 'str';
  if (numberOf(value) !== undefined) return 'int';
  return 'bytes';
}

/** JSON has no infinities and no NaN: they are texts. */
function asNumber(value: unknown): number {
  if (typeof value === 'number') return value;
  return { inf: Number.POSITIVE_INFINITY, '-inf': Number.NEGATIVE_INFINITY }[String(value)] ?? Number(value);
}

function exact(name: string, mine: unknown, golden: unknown): Check {
  return mine === golden ? passed(name) : failed(name, `is ${String(mine)}, expected ${String(golden)}`);
}
