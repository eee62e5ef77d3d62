/**
 * Thousands of damaged files: each is read or refused with a reason, quickly and in little memory; none ends the
 * process, writes a file or runs anything.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { arange, scope, tensor, zeros } from '../../src/torch/index.js';
import { ArchiveReader, ArchiveWriter, RandomFile } from '../../src/weights/archive.js';
import {
  inspectFile,
  Namespace,
  NumpyArray,
  NumpyScalar,
  OrderedDict,
  PyComplex,
  PyFloat,
  type PyValue,
  TorchParameter,
  tensorsByPath,
  writeNpy,
  writeNpz,
  writePth,
  writeSafetensors,
} from '../../src/weights/index.js';
import { temporaryFolder } from './folder.js';

const at = temporaryFolder();
const golden = join(dirname(fileURLToPath(import.meta.url)), '../fixtures/golden/checkpoint');

/** Files of each of the four kinds; ESVIT_FUZZ_RUNS and ESVIT_FUZZ_SEED look further. */
const RUNS = Number(process.env.ESVIT_FUZZ_RUNS ?? 700);
const SEED = Number(process.env.ESVIT_FUZZ_SEED ?? 0);

/** Of processor time; what a file takes is about a thousandth of it. */
const PATIENCE = 1;

const MEMORY = 1 << 30;

type Mutation =
  | { kind: 'set'; place: number; bytes: number[] }
  | { kind: 'insert'; place: number; bytes: number[] }
  | { kind: 'remove'; place: number; count: number }
  | { kind: 'repeat'; place: number; count: number; times: number }
  | { kind: 'cut'; place: number };

/** Numbers at which lengths, counts and offsets turn over, in both orders of bytes. */
const EDGES = [
  [0xff, 0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0x7f],
  [0x7f, 0xff, 0xff, 0xff],
  [0x00, 0x00, 0x00, 0x80],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
  [0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x00],
  [...Buffer.from('99999999999999')],
  [...Buffer.from('-1')],
  [...Buffer.from('e9')],
  [...Buffer.from('cposix\nsystem\n')],
  [...Buffer.from('cbuiltins\neval\n')],
  [...Buffer.from('R.')],
];

// Places are shares of the length, so that one description fits every file, however it was changed before.
const place = fc.double({ min: 0, max: 1, noNaN: true });
const some = fc.oneof(fc.array(fc.nat(255), { minLength: 1, maxLength: 9 }), fc.constantFrom(...EDGES));
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('set' as const), place, bytes: some }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('insert' as const), place, bytes: some }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const), place, count: fc.nat(40) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('repeat' as const),
      place,
      count: fc.nat(60),
      times: fc.nat(40),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const), place }) },
);

function mutated(bytes: Uint8Array, mutations: readonly Mutation[]): Buffer {
  let result = Buffer.from(bytes);
  for (const change of mutations) {
    const start = Math.min(result.length, Math.floor(change.place * (result.length + 1)));
    const [before, after] = [result.subarray(0, start), result.subarray(start)];
    switch (change.kind) {
      case 'set':
        result = Buffer.concat([before, Uint8Array.from(change.bytes), after.subarray(change.bytes.length)]);
        break;
      case 'insert':
        result = Buffer.concat([before, Uint8Array.from(change.bytes), after]);
        break;
      case 'remove':
        result = Buffer.concat([before, after.subarray(change.count)]);
        break;
      case 'repeat':
        result = Buffer.concat([
          before,
          ...Array.from({ length: change.times }, () => after.subarray(0, change.count)),
          after,
        ]);
        break;
      case 'cut':
        result = Buffer.from(before);
    }
  }
  return result;
}

/** Reads a file in both ways, and says whether it was accepted; any end but a refusal is thrown on. */
function attempt(path: string): boolean {
  let accepted = true;
  for (const read of [() => scope(() => void tensorsByPath(path)), () => void inspectFile(path)])
    try {
      read();
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      accepted = false;
    }
  return accepted;
}

/** Seconds of processor time; the least of a few attempts, so that a pause of the process is no verdict. */
function secondsOf(path: string): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 4 && least > PATIENCE; i++) {
    const start = process.cpuUsage();
    attempt(path);
    const { user, system } = process.cpuUsage(start);
    least = Math.min(least, (user + system) / 1e6);
  }
  return least;
}

/** Checks `RUNS` mutants that `make` writes to `path`; returns how many were read. */
function fuzz(
  path: string,
  seed: number,
  make: (pick: number, mutations: readonly Mutation[]) => Uint8Array,
) {
  const before = readdirSync(at('.')).filter((name) => join(at('.'), name) !== path);
  const peak = process.resourceUsage().maxRSS;
  let read = 0;
  let refused = 0;
  fc.assert(
    fc.property(fc.nat(), fc.array(mutation, { minLength: 1, maxLength: 5 }), (pick, mutations) => {
      writeFileSync(path, make(pick, mutations));
      if (secondsOf(path) > PATIENCE) throw new Error('took more than a second');
      if (attempt(path)) read++;
      else refused++;
    }),
    { seed: SEED + seed, numRuns: RUNS, endOnFailure: true },
  );
  expect(read + refused).toBe(RUNS);
  expect(refused).toBeGreaterThan(0);
  expect(readdirSync(at('.')).filter((name) => join(at('.'), name) !== path)).toEqual(before);
  expect((process.resourceUsage().maxRSS - peak) * 1024).toBeLessThan(MEMORY);
  return read;
}

function sample(): PyValue {
  const space = new Namespace();
  space.entries.set('lr', new PyFloat(0.1));
  const base = arange(0, 12, 1, { dtype: 'float32' });
  return new Map<PyValue, PyValue>([
    [
      'state',
      new OrderedDict([
        ['w', base.view([3, 4]).t()],
        ['v', base.narrow(0, 2, 3)],
      ]),
    ],
    ['half', tensor([1, 2], { dtype: 'float16' })],
    ['empty', zeros([0, 2])],
    ['args', space],
    ['numpy', [new NumpyScalar('float64', 1), new NumpyArray('uint8', [2], false, Uint8Array.of(1, 2))]],
    ['parameter', new TorchParameter(tensor([1]), true)],
    ['odd', [new PyComplex(1, 2), new Set([1]), 2n ** 70n, Uint8Array.of(9)]],
  ]);
}

describe('mutants', () => {
  writePth(at('sample.pth'), sample());
  const fixtures = readdirSync(golden).filter((name) => name.endsWith('.pth'));
  const hostile = readdirSync(join(golden, 'hostile')).map((name) => join('hostile', name));
  const checkpoints = [at('sample.pth'), ...[...fixtures, ...hostile].map((name) => join(golden, name))].map(
    (path) => readFileSync(path),
  );

  it(`of ${RUNS} checkpoints and hostile files are read or refused`, () => {
    fuzz(at('mutant.pth'), 1, (pick, mutations) =>
      mutated(checkpoints[pick % checkpoints.length], mutations),
    );
  });

  it(`of ${RUNS} checkpoints whose pickle is another, with the right checksums`, () => {
    const file = new RandomFile(at('sample.pth'));
    const archive = new ArchiveReader(file);
    const entries = [...archive.names()].map((name) => [name, archive.read(name)] as const);
    file.close();
    const read = fuzz(at('mutant.pth'), 2, (_, mutations) => {
      const chunks: Uint8Array[] = [];
      const writer = new ArchiveWriter((bytes) => chunks.push(Uint8Array.from(bytes)));
      for (const [name, content] of entries)
        writer.add(name, name.endsWith('data.pkl') ? mutated(content, mutations) : content);
      writer.finish();
      return Buffer.concat(chunks);
    });
    // a changed letter of a name, another number: sound files too
    expect(read).toBeGreaterThan(0);
  });

  it(`of ${RUNS} safetensors files, half of them with a length that fits their header`, () => {
    const parts = new Map([
      ['a', arange(0, 6, 1, { dtype: 'int64' }).view([2, 3])],
      ['b', tensor([1, 2, 3])],
      ['c', zeros([0, 4], { dtype: 'float16' })],
    ]);
    writeSafetensors(at('sample.safetensors'), parts, { format: 'pt' });
    const whole = readFileSync(at('sample.safetensors'));
    const length = Number(whole.readBigUInt64LE());
    fuzz(at('mutant.safetensors'), 3, (pick, mutations) => {
      if (pick % 2 === 0) return mutated(whole, mutations);
      const header = mutated(whole.subarray(8, 8 + length), mutations);
      const prefix = Buffer.alloc(8);
      prefix.writeBigUInt64LE(BigInt(header.length));
      return Buffer.concat([prefix, header, whole.subarray(8 + length)]);
    });
  });

  it(`of ${RUNS} zips of arrays, half of them with the right checksums`, () => {
    writeNpz(
      at('sample.npz'),
      new Map([
        ['x', arange(0, 6, 1).view([2, 3])],
        ['y', zeros([2, 2, 2])],
      ]),
    );
    writeNpy(at('sample.npy'), arange(0, 6, 1, { dtype: 'float32' }).view([3, 2]));
    const [zip, array] = [readFileSync(at('sample.npz')), readFileSync(at('sample.npy'))];
    fuzz(at('mutant.npz'), 4, (pick, mutations) => {
      if (pick % 2 === 0) return mutated(zip, mutations);
      const chunks: Uint8Array[] = [];
      const writer = new ArchiveWriter((bytes) => chunks.push(Uint8Array.from(bytes)));
      writer.add('x.npy', mutated(array, mutations));
      writer.finish();
      return Buffer.concat(chunks);
    });
  });
});
