/** Checkpoints: a run goes on from one as if it had never stopped. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { AdamW, GradScaler, Lars, Sgd } from '../../src/optim/index.js';
import {
  cat,
  liveTensors,
  manualSeed,
  randn,
  scope,
  setThreads,
  type Tensor,
  zeros,
} from '../../src/torch/index.js';
import {
  continueStage,
  loadCheckpoint,
  type Position,
  type StepBatch,
  type StepState,
  saveCheckpoint,
  startFromWeights,
  trainStep,
} from '../../src/train/index.js';
import {
  entryOf,
  OrderedDict,
  PyFloat,
  PyTuple,
  type PyValue,
  readPth,
  writePth,
} from '../../src/weights/index.js';
import { type MicroOptions, microBatch, microState } from '../ssl/micro.js';

setThreads(1);

const folder = mkdtempSync(join(tmpdir(), 'esvit-checkpoint-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

const position: Position = { epoch: 2, step: 5, sums: { loss: 1.25, steps: 5 } };

function step(state: StepState, batches: readonly StepBatch[], clipGrad = 3): number {
  const settings = {
    epoch: 1,
    lr: 0.05,
    weightDecay: 0.1,
    momentum: 0.9,
    clipGrad,
    freezeLastLayer: false,
    precision: 'float32',
  } as const;
  const { loss, taken } = scope(() => trainStep(state, batches, batches.length, settings));
  expect(taken).toBe(true);
  return loss;
}

const numbers = (x: Tensor) => Array.from(x.toArray(), Number);

/** Every number of a state, by name. */
function everything({ student, teacher, loss, optimizer, scaler }: StepState): Record<string, number[]> {
  const result: Record<string, number[]> = {};
  for (const [part, module] of Object.entries({ student, teacher, loss }))
    for (const [name, value] of module.stateDict()) result[`${part}.${name}`] = numbers(value);
  for (const [number, own] of optimizer.stateDict().state)
    for (const [name, value] of Object.entries(own))
      result[`optimizer.${number}.${name}`] = typeof value === 'number' ? [value] : numbers(value);
  result.rates = optimizer.groups.flatMap(({ lr, weightDecay }) => [lr, weightDecay]);
  if (scaler !== undefined) result.scaler = Object.values(scaler.stateDict());
  return result;
}

/** A state after two steps, saved. */
function saved(name: string, options: MicroOptions = {}): StepState {
  const state = microState(options);
  for (const seed of [1, 2]) step(state, [microBatch(seed)]);
  saveCheckpoint(at(name), state, position, { arch: 'swin', lr: 0.5, crops: [8], none: undefined });
  return state;
}

/** Changes one top-level entry of a saved file. */
function edited(name: string, change: (content: Map<PyValue, PyValue>) => void): string {
  const content = readPth(at(name)) as Map<PyValue, PyValue>;
  change(content);
  writePth(at('edited.pth'), content);
  return at('edited.pth');
}

describe.each<[string, MicroOptions]>([
  ['AdamW', { optimizer: (groups) => new AdamW(groups) }],
  ['SGD', { optimizer: (groups) => new Sgd(groups) }],
  ['LARS', { optimizer: (groups) => new Lars(groups) }],
  ['views alone', { dense: false }],
  ['batch norms', { useBn: true }],
])('with %s', (name, options) => {
  const file = `${name}.pth`;

  it('everything comes back exactly, with the position', () => {
    const state = saved(file, options);
    const other = microState({ ...options, seed: 99 });
    expect(everything(other)).not.toEqual(everything(state));
    expect(loadCheckpoint(at(file), other)).toEqual(position);
    expect(everything(other)).toEqual(everything(state));
  });

  it('steps after it are the same, with their random draws', () => {
    const drawing = { ...options, dropPathRate: 0.5 };
    const state = microState(drawing);
    step(state, [microBatch(1)]);
    const batches = [3, 4, 5].map((seed) => microBatch(seed));
    manualSeed(123);
    randn([7]);
    saveCheckpoint(at(file), state, position, {});
    const losses = batches.map((batch) => step(state, [batch]));
    manualSeed(5); // what a new process would have drawn until here
    const other = microState({ ...drawing, seed: 7 });
    loadCheckpoint(at(file), other);
    expect(batches.map((batch) => step(other, [batch]))).toEqual(losses);
    expect(everything(other)).toEqual(everything(state));
  });
});

describe('the file', () => {
  it('has the layout of the original, and our own part beside it', () => {
    saved('layout.pth');
    const content = readPth(at('layout.pth')) as Map<string, PyValue>;
    expect([...content.keys()]).toEqual([
      'student',
      'teacher',
      'optimizer',
      'epoch',
      'args',
      'dino_loss',
      'esvit',
    ]);
    expect(content.get('student')).toBeInstanceOf(OrderedDict);
    const [student, teacher] = ['student', 'teacher'].map((key) => [
      ...(content.get(key) as OrderedDict).keys(),
    ]);
    expect(student[0]).toBe('module.patch_embed.proj.weight');
    expect(teacher[0]).toBe('patch_embed.proj.weight');
    expect(student).toHaveLength(teacher.length);
    expect([...(content.get('dino_loss') as OrderedDict).keys()]).toEqual(['center', 'center_grid']);
    expect(content.get('epoch')).toBe(2);
    expect(content.get('args')).toEqual(
      new Map<PyValue, PyValue>([
        ['arch', 'swin'],
        ['lr', new PyFloat(0.5)],
        ['crops', [8]],
        ['none', null],
      ]),
    );
    const [group] = entryOf(content.get('optimizer'), 'param_groups') as Map<string, PyValue>[];
    expect(group.get('betas')).toEqual(new PyTuple([new PyFloat(0.9), new PyFloat(0.999)]));
    expect(group.get('lr')).toEqual(new PyFloat(0.05));
    const first = entryOf(content.get('optimizer'), 'state') as Map<number, Map<string, Tensor>>;
    expect(first.get(0)?.get('step')?.shape).toEqual([]);
  });

  it('is the same for the same state', () => {
    const state = microState();
    step(state, [microBatch(1)]);
    manualSeed(0);
    for (const name of ['one.pth', 'two.pth']) saveCheckpoint(at(name), state, position, { a: 1 });
    expect(readFileSync(at('one.pth')).equals(readFileSync(at('two.pth')))).toBe(true);
  });

  it('replaces the one before, and nothing else is left in the folder', () => {
    const state = saved('again.pth');
    step(state, [microBatch(9)]);
    saveCheckpoint(at('again.pth'), state, { ...position, step: 6 }, {});
    expect(loadCheckpoint(at('again.pth'), microState()).step).toBe(6);
    expect(readdirSync(folder).filter((name) => !name.endsWith('.pth'))).toEqual([]);
  });

  it('leaves no tensors behind, written or read', () => {
    const [state, other] = [saved('tensors.pth'), microState()];
    loadCheckpoint(at('tensors.pth'), other); // the optimiser makes its own
    const before = liveTensors();
    saveCheckpoint(at('tensors.pth'), state, position, {});
    loadCheckpoint(at('tensors.pth'), other);
    // the old tensors of the optimiser go with the next collection
    expect(liveTensors() - before).toBeLessThanOrEqual(2 * other.student.parameters().length);
  });
});

describe('a file without our part', () => {
  it('goes on at the beginning of the epoch that it names', () => {
    const state = saved('theirs.pth');
    const path = edited('theirs.pth', (content) => content.delete('esvit'));
    const other = microState({ seed: 3 });
    manualSeed(77);
    const expected = numbers(randn([3]));
    manualSeed(77);
    expect(loadCheckpoint(path, other)).toEqual({ epoch: 2, step: 0, sums: {} });
    expect(numbers(randn([3]))).toEqual(expected); // draws go on as they were
    expect(everything(other)).toEqual(everything(state));
  });

  it('may have names of a student without a wrapper, and counts that are numbers', () => {
    const state = saved('bare.pth');
    const path = edited('bare.pth', (content) => {
      const student = [...(content.get('student') as OrderedDict)];
      content.set(
        'student',
        new OrderedDict(student.map(([key, v]) => [String(key).slice('module.'.length), v])),
      );
      for (const own of (
        entryOf(content.get('optimizer'), 'state') as Map<PyValue, Map<PyValue, PyValue>>
      ).values())
        own.set('step', 2);
    });
    const other = microState({ seed: 3 });
    loadCheckpoint(path, other);
    expect(everything(other)).toEqual(everything(state));
  });
});

/** The message of the refusal. */
function attempt(path: string, state: StepState = microState()): string {
  try {
    loadCheckpoint(path, state);
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  }
  throw new Error('was accepted');
}

describe('a file that does not fit', () => {
  it.each<[string, MicroOptions, RegExp]>([
    ['of other depths', { depths: [1, 1] }, /does not fit this run: .*(missing|unexpected).*Check --arch/],
    [
      'of another output width',
      { outDim: 20 },
      /does not fit this run: .*last_layer.* has shape \[12.*expected \[20/,
    ],
    ['without regions', { dense: false }, /does not fit this run: .*unexpected \(head_dense/],
    ['with batch norms', { useBn: true }, /does not fit this run: .*missing/],
  ])('for a network %s is refused', (_, options, message) => {
    saved('other.pth');
    expect(attempt(at('other.pth'), microState(options))).toMatch(message);
    expect(attempt(at('other.pth'), microState(options))).toContain(at('other.pth'));
  });

  it('of another optimiser, or none', () => {
    saved('optimizer.pth');
    const path = edited('optimizer.pth', (content) =>
      content.set('optimizer', new Map([['state', new Map()]])),
    );
    expect(attempt(path)).toMatch(/'optimizer' .* is not the state of an optimiser/);
    const fewer = edited('optimizer.pth', (content) =>
      (entryOf(content.get('optimizer'), 'param_groups') as PyValue[]).pop(),
    );
    expect(attempt(fewer)).toMatch(/the optimizer state is for \d+ parameters, this network has \d+ \+ \d+/);
  });

  it.each(['student', 'teacher', 'dino_loss', 'optimizer', 'epoch'])('without %s', (key) => {
    saved('less.pth');
    const path = edited('less.pth', (content) => content.delete(key));
    expect(attempt(path)).toMatch(new RegExp(`is not a training checkpoint: it has no '${key}'`));
    expect(attempt(path)).toContain('--pretrained_weights');
  });

  it('whose parts are something else', () => {
    saved('odd.pth');
    expect(attempt(edited('odd.pth', (content) => content.set('teacher', 'gone')))).toMatch(
      /'teacher' .* holds no weights/,
    );
    expect(attempt(edited('odd.pth', (content) => content.set('epoch', 'two')))).toMatch(
      /'epoch' .* is no number/,
    );
    const newer = edited('odd.pth', (content) => content.set('esvit', new Map([['version', 2]])));
    expect(attempt(newer)).toMatch(/another version of esvit/);
    writePth(at('weights.pth'), new OrderedDict([['norm.weight', zeros([3])]]));
    expect(attempt(at('weights.pth'))).toMatch(/no 'student'/);
  });

  it('or is not there', () => {
    expect(attempt(at('none.pth'))).toMatch(/no file/);
  });
});

describe('a resume', () => {
  it.each<[string, (content: Map<PyValue, PyValue>) => void]>([
    [
      'an optimiser of other shapes',
      (content) => {
        const own = entryOf(content.get('optimizer'), 'state') as Map<PyValue, Map<PyValue, PyValue>>;
        [...own.values()].at(-1)?.set('exp_avg', zeros([2, 9]));
      },
    ],
    [
      'the state of another optimiser',
      (content) => {
        const own = entryOf(content.get('optimizer'), 'state') as Map<PyValue, Map<PyValue, PyValue>>;
        own.get(0)?.set('momentum_buffer', zeros([2, 9]));
      },
    ],
    [
      'an optimiser without a learning rate',
      (content) => {
        for (const group of entryOf(content.get('optimizer'), 'param_groups') as Map<PyValue, PyValue>[])
          group.delete('lr');
      },
    ],
    [
      'a teacher that lacks a tensor',
      (content) => (content.get('teacher') as OrderedDict).delete('norm.bias'),
    ],
    [
      'centres of another width',
      (content) => (content.get('dino_loss') as OrderedDict).set('center', zeros([1, 5])),
    ],
    [
      'random numbers of something else',
      (content) => (content.get('esvit') as Map<PyValue, PyValue>).set('rng', zeros([4])),
    ],
  ])('from a file with %s changes nothing', (_, change) => {
    saved('whole.pth');
    const state = microState({ seed: 8 });
    step(state, [microBatch(1)]);
    const before = everything(state);
    expect(attempt(edited('whole.pth', change), state)).toMatch(/does not fit this run/);
    expect(everything(state)).toEqual(before);
  });
});

describe('loss scaling', () => {
  it('goes on from its scale', () => {
    const state = { ...microState(), scaler: new GradScaler() };
    step(state, [microBatch(1)]);
    state.scaler.update(false);
    state.scaler.update(true);
    saveCheckpoint(at('scaler.pth'), state, position, {});
    const other = { ...microState(), scaler: new GradScaler() };
    loadCheckpoint(at('scaler.pth'), other);
    expect(other.scaler.stateDict()).toEqual(state.scaler.stateDict());
    expect([...(readPth(at('scaler.pth')) as Map<string, PyValue>).keys()]).toContain('fp16_scaler');
    // a run without it passes it over
    expect(loadCheckpoint(at('scaler.pth'), microState())).toEqual(position);
  });
});

describe('a second stage', () => {
  const notes: string[] = [];
  const note = (line: string) => notes.push(line);

  it('takes weights, centres and epoch of the first; the dense head is fresh', () => {
    const state = saved('first.pth', { dense: false });
    const other = microState({ dense: true, seed: 5 });
    const before = everything(other);
    expect(continueStage(at('first.pth'), 4, other, note)).toEqual({ epoch: 2, step: 0, sums: {} });
    const [mine, theirs] = [everything(other), everything(state)];
    for (const [name, values] of Object.entries(theirs))
      if (/^(student|teacher|loss)\./.test(name)) expect(mine[name], name).toEqual(values);
    const fresh = Object.keys(before).filter((name) => /head_dense|center_grid/.test(name));
    expect(fresh.length).toBeGreaterThan(10);
    for (const name of fresh) expect(mine[name], name).toEqual(before[name]);
    expect(Object.keys(mine).some((name) => name.startsWith('optimizer.'))).toBe(false);
    expect(notes.join('\n')).toMatch(/Goes on at epoch 2 .*missing \(head_dense\./);
    expect(notes.join('\n')).toMatch(/Fresh centres: center_grid/);
    expect(notes.join('\n')).toMatch(/The optimiser starts fresh: the optimizer state is for/);
    expect(step(other, [microBatch(3)])).toBeGreaterThan(0);
  });

  it('of the same tasks takes the optimiser too', () => {
    const state = saved('same.pth');
    const other = microState({ seed: 5 });
    continueStage(at('same.pth'), 9, other, note);
    expect(everything(other)).toEqual(everything(state));
  });

  it('refuses another backbone, weights alone, and a run that has no epochs left', () => {
    saved('deep.pth', { depths: [2, 2] });
    const other = microState({ depths: [3, 2] });
    const before = everything(other);
    expect(() => continueStage(at('deep.pth'), 9, other, note)).toThrow(
      /is of another network: \d+ of \d+ tensors of the backbone do not fit \(layers\.0\.blocks\.2/,
    );
    expect(() => continueStage(at('deep.pth'), 2, other, note)).toThrow(
      /after 2 epochs, so --epochs 2 leaves nothing to do.*--pretrained_weights /,
    );
    expect(everything(other)).toEqual(before);
    writePth(at('alone.pth'), new OrderedDict([['norm.weight', zeros([3])]]));
    expect(() => continueStage(at('alone.pth'), 9, microState(), note)).toThrow(/has no 'student'/);
  });
});

describe('weights to start from', () => {
  it('fill student and teacher alike; the run is at its beginning', () => {
    const state = saved('teacher.pth');
    const other = microState({ seed: 5 });
    const before = everything(other);
    expect(startFromWeights(at('teacher.pth'), undefined, other)).toMatch(/teacher: \d+ tensors used\.$/);
    const [mine, theirs] = [everything(other), everything(state)];
    for (const name of state.teacher.stateDict().keys()) {
      expect(mine[`student.${name}`], name).toEqual(theirs[`teacher.${name}`]);
      expect(mine[`teacher.${name}`], name).toEqual(theirs[`teacher.${name}`]);
    }
    for (const name of ['loss.center', 'loss.center_grid']) expect(mine[name]).toEqual(before[name]);
    startFromWeights(at('teacher.pth'), 'student', other);
    expect(everything(other)['student.norm.weight']).toEqual(theirs['student.norm.weight']);
  });

  it('may be a backbone alone, under any wrapper, whose windows were of another size', () => {
    const state = microState();
    const bare = [...state.student.backbone.stateDict()].map(([name, value]): [string, Tensor] => [
      `module.backbone.${name}`,
      name.endsWith('relative_position_bias_table') ? value.repeat([9, 1]).narrow(0, 0, 25) : value,
    ]);
    writePth(at('bare.pth'), new Map([['state_dict', new OrderedDict(bare)]]));
    const other = microState({ seed: 5 });
    expect(startFromWeights(at('bare.pth'), undefined, other)).toMatch(
      /state_dict: \d+ tensors used, 3 resampled .*\[25, 2\], expected \[9, 2\].*\d+ missing \(head\./,
    );
    expect(everything(other)['teacher.norm.weight']).toEqual(everything(state)['student.norm.weight']);
  });
});

describe('accumulation', () => {
  /** Pictures of all batches in one: view by view, as crops lie. */
  function joined(batches: readonly StepBatch[]): StepBatch {
    const crops = batches[0].crops.map((group, i) => {
      const views = group.shape[0] / batches[0].size;
      return cat(
        Array.from({ length: views }, (_, view) =>
          cat(batches.map(({ crops, size }) => crops[i].narrow(0, view * size, size))),
        ),
      );
    });
    return { size: batches.reduce((sum, { size }) => sum + size, 0), crops };
  }

  it.each<[string, MicroOptions]>([
    ['SGD', { optimizer: (groups) => new Sgd(groups) }],
    ['views alone', { dense: false, optimizer: (groups) => new Sgd(groups) }],
  ])('of two batches is one large batch: %s', (_, options) => {
    const [parts, whole] = [microState(options), microState(options)];
    for (const seeds of [
      [1, 2],
      [3, 4],
    ]) {
      const batches = seeds.map((seed) => microBatch(seed, 3));
      // Without clipping: that would hide differences of length.
      const losses = [step(parts, batches, 0), step(whole, [joined(batches)], 0)];
      expect(Math.abs(losses[0] - losses[1])).toBeLessThan(1e-5);
    }
    const [mine, theirs] = [everything(parts), everything(whole)];
    expect(Object.keys(mine)).toEqual(Object.keys(theirs));
    for (const [name, values] of Object.entries(mine)) {
      const scale = Math.max(1, ...values.map(Math.abs));
      const worst = Math.max(...values.map((value, i) => Math.abs(value - theirs[name][i])));
      expect(worst / scale, name).toBeLessThan(2e-5);
    }
    // rounding is far below what a step does
    const start = everything(microState(options));
    const moved = Object.entries(start).flatMap(([name, values]) =>
      values.map((value, i) => Math.abs(value - mine[name][i])),
    );
    expect(Math.max(...moved)).toBeGreaterThan(0.01);
  });
});
