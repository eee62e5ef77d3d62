/** The network that a command works on: from a run folder, or from an architecture and a file of weights. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { Collectives } from '../dist/index.js';
import { UserError } from '../errors.js';
import type { Backbone } from '../models/index.js';
import type { Io } from './command.js';

const positive = () => z.number().int().min(1);

/** Flags of every command that runs a trained network. */
export const networkOptions = {
  run: z.string().optional().describe('Run folder of esvit train: its network and its newest weights'),
  cfg: z.string().optional().describe('YAML file of the experiment that says which network'),
  arch: z.string().optional().describe('Architecture, e.g. swin_tiny'),
  patch_size: positive().default(16).describe('Side of a patch, for plain vision transformers only'),
  pretrained_weights: z
    .string()
    .optional()
    .describe(
      'Weights: a file (.pth, .safetensors), an https address, a name of esvit models; without it: untrained',
    ),
  checkpoint_key: z
    .string()
    .optional()
    .describe('Part of the file (automatic: teacher, student, state_dict, model)'),
  weights_base: z
    .string()
    .optional()
    .describe('Folder or https address where files of esvit models lie (else: ESVIT_WEIGHTS)'),
  image_size: positive()
    .optional()
    .describe('Side of the pictures shown (default: as in training, else 224)'),
  batch_size: positive().default(64).describe('Pictures at a time'),
  workers: z.number().int().min(0).default(1).describe('Threads that decode'),
  device: z.enum(['auto', 'cpu', 'cuda']).default('auto').describe('Where to compute'),
  threads: positive().optional().describe('Threads that compute (automatic: all cores)'),
} as const;

const shape = z.strictObject(networkOptions);

export interface LoadedNetwork {
  backbone: Backbone;
  imageSize: number;
  device: 'cpu' | 'cuda';
  /** in words, for people */
  description: string;
  /** the file of its weights, on the rank that read it; undefined: untrained */
  weights: string | undefined;
}

const modelSchema = z.looseObject({
  model: z.object({
    arch: z.string(),
    name: z.string().optional(),
    spec: z.record(z.string(), z.unknown()).optional(),
  }),
  global_crops_size: z.number(),
  patch_size: z.number(),
});

/**
 * Builds and fills the backbone that the flags name. It is in evaluation mode. Of several ranks only the first reads
 * files: all have its network.
 */
export async function loadNetwork(
  options: z.output<typeof shape>,
  io: Io,
  overrides: readonly string[] = [],
  company?: Collectives,
): Promise<LoadedNetwork> {
  const { alone, sharedValue } = await import('../dist/index.js');
  const { noGrad, torchInfo } = await import('../torch/index.js');
  const { buildBackbone, locateWeights } = await import('../models/index.js');
  const { backboneState, describeReport, loadWeights, readWeights } = await import('../weights/index.js');
  const cuda = torchInfo().cudaDevices > 0;
  if (options.device === 'cuda' && !cuda)
    throw new UserError('environment', '--device cuda: no CUDA device can be used here; see esvit doctor.');
  const device = options.device === 'auto' ? (cuda ? 'cuda' : 'cpu') : options.device;
  const collectives = company ?? alone;
  const isFirst = collectives.rank === 0;
  const own = isFirst ? await planOf(options, overrides) : undefined;
  const { build, imageSize, weights } = sharedValue(collectives, () => own as Plan);
  const backbone = buildBackbone(build);
  let path: string | undefined;
  if (isFirst && weights === undefined) {
    io.warn('No --pretrained_weights: the network is untrained.');
  } else if (isFirst && weights !== undefined) {
    path = await locateWeights(weights, { base: options.weights_base, onNote: (line) => io.log(line) });
    const { state, key } = readWeights(path, options.checkpoint_key);
    const report = loadWeights(backbone, backboneState(state), path);
    io.log(`${path}${key === null ? '' : `, ${key}`}: ${describeReport(report)}.`);
  }
  backbone.to({ device }).eval();
  noGrad(() => {
    for (const value of backbone.stateDict().values()) collectives.broadcast(value);
  });
  return { backbone, imageSize, device, description: build.arch, weights: path };
}

async function planOf(options: z.output<typeof shape>, overrides: readonly string[]): Promise<Plan> {
  return options.run === undefined ? fromFlags(options, overrides) : fromRun(options.run, options);
}

interface Plan {
  build: Parameters<typeof import('../models/index.js').buildBackbone>[0];
  imageSize: number;
  weights: string | undefined;
}

function fromRun(run: string, options: z.output<typeof shape>): Plan {
  const path = join(run, 'config.json');
  if (!existsSync(path))
    throw new UserError('usage', `${run} is no run folder: there is no config.json in it. Check --run.`);
  const {
    model,
    global_crops_size: imageSize,
    patch_size: patchSize,
  } = modelSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  const own = join(run, 'checkpoint.pth');
  const weights = options.pretrained_weights ?? own;
  if (weights === own && !existsSync(own))
    throw new UserError('usage', `There is no checkpoint in ${run} yet; train it first.`);
  return {
    build: {
      arch: model.spec === undefined ? model.arch : (model.name ?? model.arch),
      ...(model.spec !== undefined && { spec: model.spec }),
      imgSize: imageSize,
      patchSize,
    },
    imageSize: options.image_size ?? imageSize,
    weights,
  };
}

async function fromFlags(options: z.output<typeof shape>, overrides: readonly string[]): Promise<Plan> {
  const { loadExperiment } = await import('../train/index.js');
  const isPlain = options.cfg === undefined && overrides.length === 0;
  const { NAME: name, SPEC: spec } = (isPlain ? {} : loadExperiment(options.cfg, overrides).value).MODEL ?? {
    NAME: undefined,
    SPEC: undefined,
  };
  const arch = options.arch ?? name;
  if (arch === undefined) throw new UserError('usage', 'Which network? Give --run, or --arch, or --cfg.');
  const imageSize = options.image_size ?? 224;
  return {
    build: {
      arch: spec === undefined ? arch : (name ?? arch),
      ...(spec !== undefined && { spec: structuredClone(spec) as Record<string, unknown> }),
      imgSize: imageSize,
      patchSize: options.patch_size,
    },
    imageSize,
    weights: options.pretrained_weights,
  };
}

/** A file of the package, wherever the command is called. */
export function packageFile(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
