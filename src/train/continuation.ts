/** How a run begins: anew, from weights, or where it was interrupted; and what may not change in between. */

import { accessSync, constants, existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { DeepReadonly } from '../config/index.js';
import { messageOf, UserError } from '../errors.js';
import type { RunFolder } from '../run/index.js';
import { scope } from '../torch/index.js';
import { Namespace, numberOf, PyTuple, type PyValue } from '../weights/index.js';
import { type Position, readCheckpoint, restoreState, type SavedState } from './checkpoint.js';
import type { ResolvedTrainConfig } from './resolved-config.js';
import type { StepState } from './step.js';

type Config = DeepReadonly<ResolvedTrainConfig>;
type Settings = Readonly<Record<string, unknown>>;

/** Settings that make a run what it is: with another value, what follows would be another run. */
const FIXED = [
  'model',
  'patch_size',
  'out_dim',
  'use_dense_prediction',
  'use_bn_in_head',
  'contrast_weight',
  'head_hidden_dim',
  'head_bottleneck_dim',
  'norm_last_layer',
  'optimizer',
  'batch_size_per_gpu',
  'accumulate',
  'batches_per_epoch',
  'world_size',
  'global_crops_size',
  'global_crops_scale',
  'local_crops',
  'local_crops_scale',
  'aug_opt',
  'aa',
  'use_mixup',
  'sampler',
  'seed',
  'pretrained_weights',
  'pretrained_weights_ckpt',
] as const satisfies readonly (keyof Config)[];

/** Of FIXED, what makes up the pictures of a step; with another number of processes they may change too. */
const SHARES: ReadonlySet<string> = new Set([
  'batch_size_per_gpu',
  'accumulate',
  'batches_per_epoch',
  'world_size',
]);

/** Those that the original's checkpoints name as well, in the same words; its data order cannot be kept anyway. */
const FIXED_IN_ORIGINAL = [
  'out_dim',
  'use_dense_prediction',
  'use_bn_in_head',
  'norm_last_layer',
  'optimizer',
] as const satisfies readonly (keyof Config)[];

/** Settings that say where and how fast, not what: nobody needs to hear that they changed. */
const IDLE = new Set<string>([
  ...['data_path', 'output_dir', 'cfg', 'defaults', 'resume', 'max_iterations', 'num_workers', 'dist_url'],
  ...['local_rank', 'saveckp_freq', 'keep_checkpoints', 'checkpoint_every_minutes', 'arch', 'scaled_lr'],
  ...['checkpoint_every_iterations', 'health_every', 'knn_every', 'use_fp16', 'local_crops_number'],
  ...['local_crops_size', 'zip_mode', 'dataset', 'checkpoint_key', 'weights_base'],
  ...['dist_timeout', 'gradient_wire', 'threads'],
]);

/** Where a run begins, and what a person should know about it. */
export interface Beginning {
  /** the newest state of the folder, the file of --resume, or neither */
  readonly from: 'folder' | 'file' | 'nothing';
  readonly notes: readonly string[];
}

/**
 * Refuses to overwrite what is finished or was begun by another command, and to go on with other settings than were
 * begun. Changes nothing but that a finished run that is to go on counts as interrupted again.
 */
export function howToBegin(folder: RunFolder, config: Config): Beginning {
  const { path } = folder;
  const earlier = folder.readConfig();
  if (folder.status === 'finished') {
    if (Number(earlier?.epochs) >= config.epochs || config.resume === 'never')
      throw new UserError(
        'training',
        `the run in ${path} is finished. Choose another --output_dir, or raise --epochs above ${earlier?.epochs} to train it for longer.`,
      );
    folder.reopen();
  }
  const file = config.resume === 'auto' || config.resume === 'never' ? undefined : config.resume;
  if (file !== undefined && (config.pretrained_weights_ckpt !== '' || config.pretrained_weights !== ''))
    throw new UserError(
      'usage',
      '--resume FILE goes on with a run, --pretrained_weights and --pretrained_weights_ckpt begin one. Give one of them.',
    );
  if (folder.status === 'fresh') return { from: file === undefined ? 'nothing' : 'file', notes: [] };
  if (config.resume === 'never')
    throw new UserError(
      'training',
      `${path} holds an interrupted run. Leave out --resume never to go on with it, or choose another --output_dir.`,
    );
  const notes =
    earlier === undefined ? [] : compareSettings(earlier, config, FIXED, `the interrupted run in ${path}`);
  if (file === undefined || earlier?.resume === file) {
    if (file !== undefined)
      notes.push(`The run that began from ${file} has checkpoints of its own and goes on from the newest.`);
    if (config.pretrained_weights_ckpt !== '' || config.pretrained_weights !== '')
      notes.push('The weights that the run began with are not loaded again.');
    return { from: 'folder', notes };
  }
  if (!resolve(file).startsWith(`${resolve(path)}/`))
    throw new UserError(
      'training',
      `${path} holds an interrupted run, which --resume ${file} would replace. Choose another --output_dir, or leave out --resume to go on with what is there.`,
    );
  return { from: 'file', notes: [...notes, `Back to ${file}; what came after it is done again.`] };
}

/**
 * Whether the folder holds the finished run of this very configuration. A launcher that starts anew what had ended in
 * success, but for a process that was killed on its way out, finds nothing left to do.
 */
export function isDone(folder: RunFolder, config: Config): boolean {
  if (folder.status !== 'finished') return false;
  const earlier = folder.readConfig() ?? {};
  const isOtherWorld = earlier.world_size !== config.world_size;
  return Object.entries(config).every(
    ([name, value]) =>
      IDLE.has(name) ||
      name === 'precision' || // may have been chosen by a measurement, which comes out otherwise on a busy machine
      (isOtherWorld && SHARES.has(name)) ||
      JSON.stringify(earlier[name]) === JSON.stringify(value),
  );
}

/**
 * Refuses settings that make going on meaningless, with both values. A sentence about those that changed and may;
 * none where nothing did.
 */
export function compareSettings(
  earlier: Settings,
  config: Config,
  fixed: readonly (keyof Config)[],
  what: string,
): string[] {
  const isOtherWorld = earlier.world_size !== undefined && earlier.world_size !== config.world_size;
  const kept = isOtherWorld ? fixed.filter((name) => !SHARES.has(name)) : fixed;
  for (const name of kept) {
    const before = JSON.stringify(earlier[name]);
    const now = JSON.stringify(config[name]);
    if (before !== undefined && before !== now)
      throw new UserError(
        'config',
        `${what} has ${name} ${before}, now it is ${now}. Give the same settings to go on, or another --output_dir to begin anew.`,
      );
  }
  const known: ReadonlySet<string> = new Set(kept);
  const changed = Object.entries(config).flatMap(([name, value]) => {
    const [before, now] = [JSON.stringify(earlier[name]), JSON.stringify(value)];
    if (known.has(name) || IDLE.has(name) || before === undefined || before === now) return [];
    return [`${name} ${before} -> ${now}`];
  });
  return changed.length === 0 ? [] : [`Changed since this run began: ${changed.join(', ')}.`];
}

/** Puts the newest state of the folder, or that of `--resume FILE`, into `state`. */
export function goOn(
  from: 'folder' | 'file',
  config: Config,
  folder: RunFolder,
  state: StepState,
  note: (line: string) => void,
): Position {
  return scope(() => {
    const saved = from === 'folder' ? newestState(folder, note) : fileState(config, note);
    const { epoch } = saved.position;
    if (epoch > config.epochs)
      throw new UserError(
        'config',
        `${saved.path} is at epoch ${epoch}, beyond --epochs ${config.epochs}. Give --epochs ${epoch} or more.`,
      );
    return atSamePlace(restoreState(saved, state), settingsOf(saved.args), config);
  });
}

/**
 * A step of another number of processes may have another number of pictures: the run goes on where the pictures of
 * the epoch that were not seen yet begin, at most a step earlier. With as many pictures a step nothing changes.
 */
export function atSamePlace(position: Position, earlier: Settings, config: Config): Position {
  const pictures = ({ batch_size_per_gpu: batch, accumulate = 1, world_size: world = 1 }: Settings) =>
    Number(batch) * Number(accumulate) * Number(world);
  const [before, now] = [pictures(earlier), pictures({ ...config })];
  if (!(before > 0) || before === now || position.step === 0) return position;
  const step = Math.min(
    Math.floor((position.step * before) / now),
    Math.floor(config.batches_per_epoch / config.accumulate),
  );
  const share = step / position.step;
  const sums = Object.entries(position.sums).map(([name, sum]) => [name, sum * share]);
  return { ...position, step, sums: Object.fromEntries(sums) };
}

function fileState(config: Config, note: (line: string) => void): SavedState {
  const { resume } = config;
  if (!existsSync(resume))
    throw new UserError(
      'checkpoint',
      `--resume ${resume}: there is no such file. Give a checkpoint, auto or never.`,
    );
  const saved = readCheckpoint(resume);
  const isOriginal = saved.args instanceof Namespace;
  const fixed = isOriginal ? FIXED_IN_ORIGINAL : FIXED.filter((name) => !name.startsWith('pretrained'));
  const notes = compareSettings(settingsOf(saved.args), config, fixed, `the run of ${resume}`);
  for (const line of notes) note(line);
  return saved;
}

/** The newest state that can be read. What cannot is named and put aside, once another one is found. */
function newestState(folder: RunFolder, note: (line: string) => void): SavedState {
  const { checkpoints } = folder;
  const broken: { path: string; reason: string }[] = [];
  for (const path of checkpoints.candidates()) {
    try {
      accessSync(path, constants.R_OK);
    } catch (error) {
      throw new UserError('disk', `${path} may not be read (${messageOf(error)}). Change its rights.`);
    }
    try {
      const saved = readCheckpoint(path);
      for (const { path: bad, reason } of broken) {
        checkpoints.setAside(bad);
        note(
          `${reason} It was put aside as ${checkpoints.broken}; the run goes on from the one before, ${path}.`,
        );
      }
      return saved;
    } catch (error) {
      if (!(error instanceof UserError) || error.kind !== 'checkpoint') throw error;
      broken.push({ path, reason: error.message });
    }
  }
  throw new UserError(
    'checkpoint',
    `no checkpoint in ${folder.path} can be read: ${broken[0]?.reason ?? 'there is none'} Choose another --output_dir to begin anew.`,
  );
}

/** Settings as a checkpoint holds them, as plain data. */
function settingsOf(args: PyValue | undefined): Settings {
  const entries = args instanceof Namespace ? args.entries : args instanceof Map ? args : new Map();
  const known = [...entries].filter(([, value]) => value !== null); // None is what was left open
  return Object.fromEntries(known.map(([name, value]) => [String(name), plain(value)]));
}

function plain(value: PyValue): unknown {
  const number = numberOf(value);
  if (number !== undefined) return number;
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof PyTuple) return value.items.map(plain);
  if (value instanceof Map)
    return Object.fromEntries([...value].map(([name, item]) => [String(name), plain(item)]));
  return value;
}
