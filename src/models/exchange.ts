/** Weights of a backbone from and to other worlds: files and folders, and the names that are used there. */

import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { bytesOf, type DType, noGrad, type Tensor } from '../torch/index.js';
import { backboneState, bareName, placeOf, readWeights, writeTensors } from '../weights/index.js';
import { swinModelConfig, swinPreprocessorConfig } from './swin/hugging-face-config.js';
import { isSwin, swinLayout } from './swin/swin-layout.js';
import {
  fromHuggingFace,
  fromTimmSwin,
  isHuggingFaceSwin,
  isTimmSwin,
  type Renamed,
  toHuggingFace,
  toTimmSwin,
} from './swin/swin-names.js';

export const NAMINGS = ['official', 'timm', 'huggingface'] as const;

export type Naming = (typeof NAMINGS)[number];

export interface ForeignWeights extends Renamed {
  /** the names that were found */
  naming: Naming;
  /** the part of the checkpoint that was taken, or null where the file is the table itself */
  key: string | null;
}

/** Files of weights in a folder of Hugging Face's, most wanted first. */
const HUGGING_FACE_FILES = ['model.safetensors', 'pytorch_model.bin'];

/**
 * Reads a file of weights, or a folder of Hugging Face's, and gives them the original's names without prefixes.
 * `part` 'all' keeps heads beside the backbone.
 */
export function readForeignWeights(
  path: string,
  options: { part: 'backbone' | 'all'; checkpointKey?: string },
): ForeignWeights {
  const isFolder = existsSync(path) && statSync(path).isDirectory();
  const { state: read, key } = readWeights(isFolder ? fileInside(path) : path, options.checkpointKey);
  if (isHuggingFaceSwin(read)) {
    onlyBackbone(options.part, 'Hugging Face');
    return { ...fromHuggingFace(read, path), naming: 'huggingface', key };
  }
  const state = options.part === 'backbone' ? backboneState(read) : withoutPrefixes(read);
  if (!isSwin(state)) return { state, dropped: leftOut(read, state), naming: 'official', key };
  const naming = isTimmSwin(state) ? 'timm' : 'official';
  if (options.part === 'all') {
    if (naming === 'timm') onlyBackbone(options.part, 'timm');
    return { state, dropped: [], naming, key };
  }
  const renamed = fromTimmSwin(state, path);
  return { state: renamed.state, dropped: [...leftOut(read, state), ...renamed.dropped], naming, key };
}

function onlyBackbone(part: 'backbone' | 'all', world: string): void {
  if (part === 'all')
    throw new UserError(
      'usage',
      `--part all: names of ${world} know no heads of pre-training; use --part backbone.`,
    );
}

function leftOut(read: ReadonlyMap<string, Tensor>, taken: ReadonlyMap<string, Tensor>): string[] {
  return [...read.keys()].filter((name) => !taken.has(bareName(name)));
}

/** All tensors under names without wrappers. */
function withoutPrefixes(state: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const bare = new Map([...state].map(([name, tensor]) => [bareName(name), tensor]));
  if (bare.size === state.size) return bare;
  throw new UserError(
    'checkpoint',
    'without their prefixes some tensors would have one name; choose one part with --checkpoint_key.',
  );
}

function fileInside(folder: string): string {
  const config = join(folder, 'config.json');
  if (!existsSync(config))
    throw new UserError(
      'usage',
      `${folder} is a folder without config.json, so none of Hugging Face's; give the file of weights itself.`,
    );
  let type: unknown;
  try {
    type = (JSON.parse(readFileSync(config, 'utf8')) as { model_type?: unknown } | null)?.model_type;
  } catch {
    throw new UserError('checkpoint', `${config} is no JSON; fetch it again.`);
  }
  if (type !== 'swin')
    throw new UserError('checkpoint', `${config} says model_type '${String(type)}', expected 'swin'.`);
  const found = HUGGING_FACE_FILES.map((name) => join(folder, name)).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new UserError(
    'checkpoint',
    `${folder} has neither ${HUGGING_FACE_FILES.join(' nor ')}; weights in several pieces have to be joined first.`,
  );
}

/** Weights under the original's names to those of `naming`. */
export function renameWeights(
  state: ReadonlyMap<string, Tensor>,
  naming: Naming,
  source: string,
): Map<string, Tensor> {
  if (naming === 'official') return new Map(state);
  if (isSwin(state)) return naming === 'timm' ? toTimmSwin(state, source) : toHuggingFace(state, source);
  // plain transformers and residual networks have the same names there
  const isPlain = state.has('blocks.0.attn.qkv.weight') && state.has('cls_token');
  if (naming === 'timm' && (isPlain || state.has('layer1.0.conv1.weight'))) return new Map(state);
  throw new UserError(
    'checkpoint',
    `${source} is no network that ${naming === 'timm' ? 'timm' : 'Hugging Face'} has under names that we know: expected a Swin Transformer${naming === 'timm' ? ', a plain one or a ResNet' : ''}. Use --names official.`,
  );
}

/** A folder that `SwinModel.from_pretrained` takes: weights, configuration and what to do with pictures. */
export function writeHuggingFaceFolder(
  folder: string,
  official: ReadonlyMap<string, Tensor>,
  options: { imageSize: number; source: string },
): Map<string, Tensor> {
  const { imageSize, source } = options;
  const state = renameWeights(official, 'huggingface', source);
  const layout = swinLayout(official, source);
  const { dtype } = state.get('layernorm.weight') as Tensor;
  mkdirSync(folder, { recursive: true });
  const write = (name: string, content: object) =>
    writeFileAtomic(join(folder, name), `${JSON.stringify(content, null, 2)}\n`);
  writeTensors(join(folder, 'model.safetensors'), state, { format: 'pt' });
  write('preprocessor_config.json', swinPreprocessorConfig(imageSize));
  write('config.json', swinModelConfig(layout, imageSize, dtype));
  return state;
}

/** Floating-point tensors in another precision; whole numbers stay, and what was one tensor stays one. */
export function toPrecision(state: ReadonlyMap<string, Tensor>, dtype: DType): Map<string, Tensor> {
  const done = new Map<string, Tensor>();
  return new Map(
    [...state].map(([name, tensor]) => {
      if (!/^b?float/.test(tensor.dtype) || tensor.dtype === dtype) return [name, tensor];
      const place = placeOf(tensor);
      const narrow = done.get(place) ?? noGrad(() => tensor.to({ dtype }));
      done.set(place, narrow);
      return [name, narrow];
    }),
  );
}

/**
 * Tensors without memory that none of them looks into, as those of a part of a checkpoint may have: files hold
 * whole storages.
 */
export function compact(state: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const seen = new Map<bigint, number>();
  const places = new Set<string>();
  for (const tensor of state.values()) {
    const place = placeOf(tensor);
    if (places.has(place)) continue;
    places.add(place);
    const { identity } = tensor.storage;
    seen.set(identity, (seen.get(identity) ?? 0) + tensor.numel);
  }
  const copies = new Map<string, Tensor>();
  return new Map(
    [...state].map(([name, tensor]) => {
      const { identity, bytes } = tensor.storage;
      if (bytes <= (seen.get(identity) ?? 0) * bytesOf(tensor.dtype)) return [name, tensor];
      const place = placeOf(tensor);
      const copy = copies.get(place) ?? noGrad(() => tensor.clone());
      copies.set(place, copy);
      return [name, copy];
    }),
  );
}
