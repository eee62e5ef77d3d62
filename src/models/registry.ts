/** Names to backbones. */

import type { z } from 'zod';
import { didYouMean, UserError } from '../errors.js';
import type { Backbone } from './backbone.js';
import { type SwinSpec, swinSpec } from './config.js';
import { type SwinOptions, SwinTransformer } from './swin/swin.js';
import { VisionTransformer, type VitOptions } from './vit/vit.js';

export interface BackboneRequest {
  /** a name of the registry, or of its family when `spec` says the rest */
  arch: string;
  /** MODEL.SPEC of an experiment file */
  spec?: Readonly<Record<string, unknown>>;
  /** size of the pictures that windows and positions are made for */
  imgSize?: number;
  /** of plain vision transformers */
  patchSize?: number;
  /** overrides the spec; a teacher has none */
  dropPathRate?: number;
}

type Builder = (request: BackboneRequest) => Backbone;

const SWIN_SIZES: Record<string, Partial<SwinSpec>> = {
  swin_tiny: { DIM_EMBED: 96, DEPTHS: [2, 2, 6, 2], NUM_HEADS: [3, 6, 12, 24], DROP_PATH_RATE: 0.1 },
  swin_small: { DIM_EMBED: 96, DEPTHS: [2, 2, 18, 2], NUM_HEADS: [3, 6, 12, 24], DROP_PATH_RATE: 0.2 },
  swin_base: { DIM_EMBED: 128, DEPTHS: [2, 2, 18, 2], NUM_HEADS: [4, 8, 16, 32], DROP_PATH_RATE: 0.2 },
  swin_large: { DIM_EMBED: 192, DEPTHS: [2, 2, 18, 2], NUM_HEADS: [6, 12, 24, 48], DROP_PATH_RATE: 0.2 },
};

const VIT_SIZES: Record<string, Pick<VitOptions, 'embedDim' | 'numHeads'>> = {
  deit_tiny: { embedDim: 192, numHeads: 3 },
  deit_small: { embedDim: 384, numHeads: 6 },
  vit_base: { embedDim: 768, numHeads: 12 },
};

const EPS = 1e-6;

/** What a spec says, in the words of the constructor. */
export function swinOptions(spec: SwinSpec, imgSize: number): SwinOptions {
  return {
    imgSize,
    patchSize: spec.PATCH_SIZE,
    embedDim: spec.DIM_EMBED,
    depths: spec.DEPTHS,
    numHeads: spec.NUM_HEADS,
    windowSize: spec.WINDOW_SIZE,
    mlpRatio: spec.MLP_RATIO,
    qkvBias: spec.QKV_BIAS,
    dropRate: spec.DROP_RATE,
    attnDropRate: spec.ATTN_DROP_RATE,
    dropPathRate: spec.DROP_PATH_RATE,
    ape: spec.USE_APE,
    patchNorm: spec.PATCH_NORM,
    normEps: EPS,
  };
}

function swin(defaults: Partial<SwinSpec>): Builder {
  return ({ arch, spec, imgSize = 224, dropPathRate }) => {
    const known = parsed(swinSpec, arch, { ...defaults, ...spec });
    const options = swinOptions(known, imgSize);
    return new SwinTransformer({ ...options, dropPathRate: dropPathRate ?? options.dropPathRate });
  };
}

function vit(sizes: Pick<VitOptions, 'embedDim' | 'numHeads'>): Builder {
  return ({ arch, spec, imgSize = 224, patchSize = 16, dropPathRate = 0.1 }) => {
    if (spec !== undefined)
      throw new UserError('config', `${arch} takes no MODEL.SPEC; --arch and --patch_size say all of it.`);
    return new VisionTransformer({
      ...sizes,
      imgSize,
      patchSize,
      depth: 12,
      mlpRatio: 4,
      qkvBias: true,
      dropRate: 0,
      attnDropRate: 0,
      dropPathRate,
      normEps: EPS,
    });
  };
}

const BUILDERS: Readonly<Record<string, Builder>> = {
  ...Object.fromEntries(Object.entries(SWIN_SIZES).map(([name, size]) => [name, swin(size)])),
  // A Swin whose spec says all; the original's files name it so.
  swin: swin({}),
  swin_transformer: swin({}),
  ...Object.fromEntries(Object.entries(VIT_SIZES).map(([name, size]) => [name, vit(size)])),
};

/** Every name that `buildBackbone` takes. */
export const backboneNames: readonly string[] = Object.keys(BUILDERS);

/** Builds a backbone, freshly initialised from libtorch's default generator. */
export function buildBackbone(request: BackboneRequest): Backbone {
  const builder = Object.hasOwn(BUILDERS, request.arch) ? BUILDERS[request.arch] : undefined;
  if (builder === undefined)
    throw new UserError(
      'config',
      `unknown architecture '${request.arch}'.${didYouMean(request.arch, backboneNames)} Known are: ${backboneNames.join(', ')}.`,
    );
  return builder(request);
}

function parsed<Schema extends z.ZodType>(schema: Schema, arch: string, spec: unknown): z.output<Schema> {
  const result = schema.safeParse(spec);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = ['MODEL', 'SPEC', ...issue.path].join('.');
  if (issue.code === 'unrecognized_keys') {
    const [key] = issue.keys;
    const known = Object.keys((swinSpec as { shape?: object }).shape ?? {});
    throw new UserError('config', `${path}.${key}: ${arch} has no such field.${didYouMean(key, known)}`);
  }
  throw new UserError('config', `${path} of ${arch}: ${issue.message}.`);
}
