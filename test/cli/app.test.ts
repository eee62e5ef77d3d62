/** The frame around every command: flags from the schema, errors, exit codes, `--json`, signals. */

import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type Command, defineCommand, type Invocation } from '../../src/cli/command.js';
import { UserError } from '../../src/errors.js';
import { FakeHost, run, runOn } from './harness.js';

let seen: { options: unknown; invocation: Invocation };
const probe = defineCommand({
  name: 'probe',
  summary: 'Shows what it was given',
  examples: ['esvit probe --lr 0.1'],
  options: z.strictObject({
    use_dense_prediction: z.boolean().default(false).describe('Both tasks'),
    lr: z.number().positive().default(5e-4).describe('Learning rate').meta({ group: 'Optimisation' }),
    epochs: z.number().int().min(1).optional().describe('Epochs'),
    local_crops_scale: z.array(z.number()).length(2).default([0.05, 0.4]).describe('Scales'),
    optimizer: z.enum(['adamw', 'sgd', 'lars']).default('adamw').describe('Optimizer'),
    data_path: z.string().default('').describe('Pictures'),
    num_workers: z.number().int().optional().describe('Workers'),
  }),
  aliases: { workers: 'num_workers' },
  overrides: true,
  async run(options, io, invocation) {
    seen = { options, invocation };
    io.out('done');
    io.log('a log line');
    return { lr: options.lr, big: 10n, list: new Float32Array([1, 2]) };
  },
});

const placed = defineCommand({
  name: 'placed',
  summary: 'Takes places',
  examples: [],
  options: z.strictObject({
    dir: z.string().describe('Folder'),
    more: z.array(z.string()).optional().describe('More'),
    quick: z.boolean().default(false).describe('Quick'),
    ks: z.array(z.number()).default([10]).describe('Neighbours'),
  }),
  positionals: ['dir', 'more'],
  async run(options) {
    seen = { options, invocation: { given: new Set(), overrides: [], argv: [] } };
  },
});

const failing = (error: unknown): Command =>
  defineCommand({
    name: 'failing',
    summary: 'Fails',
    examples: [],
    options: z.strictObject({}),
    async run() {
      throw error;
    },
  });

async function parse(...argv: string[]) {
  const { code, err } = await run(probe, 'probe', ...argv);
  expect(err).toBe('a log line\n');
  expect(code).toBe(0);
  return seen.options as Record<string, unknown>;
}

async function refuse(...argv: string[]): Promise<string> {
  const { code, err, out } = await run(probe, 'probe', ...argv);
  expect(code).toBe(2);
  expect(out).toBe('');
  return err;
}

describe('flags', () => {
  it('has defaults and knows what was given', async () => {
    expect(await parse()).toEqual({
      use_dense_prediction: false,
      lr: 5e-4,
      local_crops_scale: [0.05, 0.4],
      optimizer: 'adamw',
      data_path: '',
    });
    await parse('--lr', '0.0005', '--workers', '2');
    expect(seen.invocation.given).toEqual(new Set(['lr', 'num_workers']));
  });

  it.each([
    [['--use_dense_prediction', 'True'], true],
    [['--use-dense-prediction', 'true'], true],
    [['--use_dense_prediction'], true],
    [['--use_dense_prediction', '1'], true],
    [['--use-dense-prediction=False'], false],
    [['--use_dense_prediction', '0'], false],
    [['--use_dense_prediction', '--lr', '1'], true],
    [['--use_dense_prediction', 'MODEL.X', '1'], true],
  ])('reads the boolean %j', async (argv, value) => {
    expect((await parse(...argv)).use_dense_prediction).toBe(value);
  });

  it('reads lists spaced, repeated, with commas and before an override', async () => {
    const scale = async (...argv: string[]) => (await parse(...argv)).local_crops_scale;
    expect(await scale('--local-crops-scale', '0.1', '0.5')).toEqual([0.1, 0.5]);
    expect(await scale('--local_crops_scale', '0.1', '--local_crops_scale', '0.5')).toEqual([0.1, 0.5]);
    expect(await scale('--local_crops_scale=0.1,0.5')).toEqual([0.1, 0.5]);
    expect(await scale('--local_crops_scale', '-1', '1e-3', 'MODEL.SPEC.X', '-2')).toEqual([-1, 1e-3]);
    expect(seen.invocation.overrides).toEqual(['MODEL.SPEC.X', '-2']);
  });

  it('changes the spelling of names only, never of values', async () => {
    expect((await parse('--data-path', 'a-b_c/--d-e')).data_path).toBe('a-b_c/--d-e');
    expect((await parse('--data_path=x=y-z')).data_path).toBe('x=y-z');
  });

  it('takes overrides anywhere after the flags, and flags after them', async () => {
    await parse('--lr', '1', 'MODEL.SPEC.WINDOW_SIZE', '14', 'PRINT_FREQ', '10', '--epochs', '3');
    expect(seen.invocation.overrides).toEqual(['MODEL.SPEC.WINDOW_SIZE', '14', 'PRINT_FREQ', '10']);
    expect(seen.options).toMatchObject({ epochs: 3 });
  });

  it('reads places, with flags among them', async () => {
    const places = async (...argv: string[]) => {
      expect((await run(placed, 'placed', ...argv)).err).toBe('');
      return seen.options;
    };
    expect(await places('a')).toEqual({ dir: 'a', quick: false, ks: [10] });
    expect(await places('--quick', 'a', 'b', 'c')).toEqual({
      dir: 'a',
      more: ['b', 'c'],
      quick: true,
      ks: [10],
    });
    expect(await places('--ks', '1', '2', 'a')).toMatchObject({ dir: 'a', ks: [1, 2] });
    expect(await places('--dir', 'a')).toMatchObject({ dir: 'a' });
    expect(await places('--', '--odd')).toMatchObject({ dir: '--odd' });
    expect((await run(placed, 'placed')).err).toContain('<dir> is missing');
  });
});

describe('mistakes', () => {
  it('names them, suggests, and exits with 2', async () => {
    expect(await refuse('--epoch', '3')).toContain(
      "Unknown flag --epoch for 'esvit probe'. Did you mean '--epochs'?",
    );
    expect(await refuse('-lr', '3')).toContain('Unknown flag -lr');
    expect(await refuse('--lr', 'abc')).toContain("Expected a number for --lr but received 'abc'.");
    expect(await refuse('--lr')).toContain('--lr needs a value.');
    expect(await refuse('--lr', '--epochs', '3')).toContain('--lr needs a value.');
    expect(await refuse('--lr', '-1')).toContain('--lr: expected more than 0 but received -1.');
    expect(await refuse('--epochs', '1.5')).toContain('--epochs: expected a whole number but received 1.5.');
    expect(await refuse('--use_dense_prediction', 'maybe')).toContain(
      "Expected True or False for --use_dense_prediction but received 'maybe'.",
    );
    expect(await refuse('--optimizer', 'adam')).toContain("Did you mean 'adamw'?");
    expect(await refuse('--local_crops_scale', '0.1')).toContain('--local_crops_scale: expected');
    expect(await refuse('--local_crops_scale')).toContain('needs at least one value');
    expect(await refuse('stray')).toContain("Unexpected argument 'stray'");
    expect(await refuse('MODEL.X')).toContain('has no value');
    expect(await refuse('--lr', 'x')).toContain("Run 'esvit probe --help'");
  });

  it('prints a UserError without a stack and anything else as a bug', async () => {
    const known = await run(failing(new UserError('data', 'No pictures in x.')), 'failing');
    expect(known).toEqual({ code: 1, out: '', err: 'error: No pictures in x.\n' });
    const config = await run(failing(new UserError('config', 'Bad.')), 'failing');
    expect(config.code).toBe(2);
    const bug = await run(failing(new Error('internal: oops')), 'failing');
    expect(bug.code).toBe(1);
    expect(bug.err).toMatch(/internal: oops\n\s+at .*\n[\s\S]*This is a bug in esvit/);
    const full = await run(
      failing(Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC', path: '/x/y' })),
      'failing',
    );
    expect(full.err).toMatch(/^error: cannot write \/x\/y: the disk is full/);
  });
});

describe('output', () => {
  it('keeps stdout for one JSON object under --json', async () => {
    const { out, err } = await run(probe, 'probe', '--json');
    expect(JSON.parse(out)).toEqual({ lr: 5e-4, big: 10, list: [1, 2] });
    expect(err).toBe('done\na log line\n');
    const failed = await run(failing(new UserError('data', 'No.')), 'failing', '--json');
    expect(JSON.parse(failed.out)).toEqual({ error: { kind: 'data', message: 'No.' } });
    const usage = await run(probe, '--json', 'probe', '--nope');
    expect(JSON.parse(usage.out).error.kind).toBe('usage');
  });

  it('hides the log under --quiet', async () => {
    expect(await run(probe, 'probe', '--quiet')).toMatchObject({ out: 'done\n', err: '' });
  });

  it('shows flags, defaults, choices, headings and examples in --help', async () => {
    const { out, code } = await run(probe, 'probe', '--lr', 'nonsense', '--help');
    expect(code).toBe(0);
    expect(out).toContain('Usage: esvit probe [flags] [SECTION.FIELD value ...]');
    expect(out).toContain('--use_dense_prediction [bool]');
    expect(out).toContain('--local_crops_scale <number...>');
    expect(out).toContain('(default: 0.05 0.4)');
    expect(out).toContain('--optimizer <adamw|sgd|lars>');
    expect(out).toContain('Optimisation:');
    expect(out).toContain('Examples:\n  esvit probe --lr 0.1');
    expect((await run(probe, 'help', 'probe')).out).toBe(out);
  });

  it('lists the commands, the version, and near names', async () => {
    const overview = await run(probe);
    expect(overview.code).toBe(0);
    expect(overview.out).toContain('  probe  test');
    expect((await run(probe, '--help')).out).toBe(overview.out);
    expect((await run(probe, '--version')).out).toBe('1.2.3\n');
    const wrong = await run(probe, 'prob');
    expect(wrong).toMatchObject({ code: 2, err: expect.stringContaining("Did you mean 'probe'?") });
  });
});

describe('signals', () => {
  const waiting = (handled: string[]) =>
    defineCommand({
      name: 'waiting',
      summary: 'Waits',
      examples: [],
      options: z.strictObject({ polite: z.boolean().default(true).describe('Handles signals') }),
      async run({ polite }, io) {
        await new Promise<void>((resolve) => {
          if (polite) io.onInterrupt((signal) => handled.push(signal) && setTimeout(resolve, 20));
          else setTimeout(resolve, 20);
        });
      },
    });

  it('lets a command end in good order and exits with 130', async () => {
    const host = new FakeHost();
    const handled: string[] = [];
    const ended = runOn(host, waiting(handled), 'waiting');
    await new Promise((resolve) => setTimeout(resolve, 5));
    host.emit('SIGINT', 'SIGINT');
    expect(await ended).toBe(130);
    expect(handled).toEqual(['SIGINT']);
    expect(host.exited).toBeUndefined();
    expect(host.err).toContain('a second one ends at once');
    expect(host.listenerCount('SIGINT')).toBe(0);
  });

  it('takes SIGUSR1 for a warning: SIGTERM may follow it, and the command still ends in good order', async () => {
    const host = new FakeHost();
    const handled: string[] = [];
    const ended = runOn(host, waiting(handled), 'waiting');
    await new Promise((resolve) => setTimeout(resolve, 5));
    for (const signal of ['SIGUSR1', 'SIGUSR1', 'SIGTERM', 'SIGUSR1']) host.emit(signal, signal);
    expect(await ended).toBe(143);
    expect(handled).toEqual(['SIGUSR1']);
    expect(host.exited).toBeUndefined();
  });

  it('ends at once at the second signal, or at the first that nobody handles', async () => {
    const host = new FakeHost();
    const ended = runOn(host, waiting([]), 'waiting');
    await new Promise((resolve) => setTimeout(resolve, 5));
    host.emit('SIGINT', 'SIGINT');
    host.emit('SIGINT', 'SIGINT');
    expect(host.exited).toBe(130);
    await ended;
    const other = new FakeHost();
    const rude = runOn(other, waiting([]), 'waiting', '--polite', 'False');
    await new Promise((resolve) => setTimeout(resolve, 5));
    other.emit('SIGTERM', 'SIGTERM');
    expect(other.exited).toBe(143);
    await rude;
  });
});
