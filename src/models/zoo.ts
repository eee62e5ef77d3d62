/** The checkpoints that the paper's authors published: what they are and what was measured with them. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { didYouMean, UserError } from '../errors.js';
import { type FetchOptions, fetchWeights, isAddress } from '../weights/index.js';

export interface PublishedModel {
  readonly name: string;
  readonly arch: string;
  /** side of the attention windows */
  readonly window: number;
  /** experiment file that describes the network */
  readonly cfg: string;
  /** of the backbone, in millions, as published */
  readonly parameters: number;
  readonly tasks: 'view' | 'view + region';
  readonly pretraining: string;
  /** pictures in a step, all processes together, where it was published */
  readonly batchSize?: number;
  /** ImageNet-1K top-1 in percent, as published */
  readonly linear: number;
  readonly knn: number;
  /** how it was trained, as far as the published commands and folder names say */
  readonly recipe: string;
  /** where the file lay below the authors' folder; mirrors may have kept the path */
  readonly originalPath: string;
}

const SWIN = 'swin';
const TINY_7 = 'configs/swin/swin_tiny_patch4_window7_224.yaml';
const BOTH = 'view + region';
const FROM_SCRATCH = '300 epochs of both tasks';
const SECOND_STAGE = (epoch: number) => `${epoch} epochs of views, then both tasks to epoch 300`;

/** From the table of the authors' repository (arXiv 2106.09785); figures as printed there. */
export const publishedModels: readonly PublishedModel[] = [
  {
    name: 'esvit_swin_tiny_w7',
    ...{ arch: 'swin_tiny', window: 7, cfg: TINY_7, parameters: 28, tasks: BOTH, batchSize: 512 },
    ...{ pretraining: 'ImageNet-1K', linear: 78.0, knn: 75.7, recipe: FROM_SCRATCH },
    originalPath: `${SWIN}/swin_tiny/bl_lr0.0005_gpu16_bs32_dense_multicrop_epoch300/checkpoint_best.pth`,
  },
  {
    name: 'esvit_swin_small_w7',
    ...{ arch: 'swin_small', window: 7, cfg: 'configs/swin/swin_small_patch4_window7_224.yaml' },
    ...{ parameters: 49, tasks: BOTH, batchSize: 512 },
    ...{ pretraining: 'ImageNet-1K', linear: 79.5, knn: 77.7, recipe: FROM_SCRATCH },
    originalPath: `${SWIN}/swin_small/bl_lr0.0005_gpu16_bs32_dense_multicrop_epoch300/checkpoint_best.pth`,
  },
  {
    name: 'esvit_swin_base_w7',
    ...{ arch: 'swin_base', window: 7, cfg: 'configs/swin/swin_base_patch4_window7_224.yaml' },
    ...{ parameters: 87, tasks: BOTH, batchSize: 512 },
    ...{ pretraining: 'ImageNet-1K', linear: 80.4, knn: 78.9, recipe: SECOND_STAGE(200) },
    originalPath: `${SWIN}/swin_base/bl_lr0.0005_gpu16_bs32_multicrop_epoch300_dino_aug/continued_from0200_dense/checkpoint_best.pth`,
  },
  {
    name: 'esvit_swin_tiny_w14',
    ...{ arch: 'swin_tiny', window: 14, cfg: 'configs/swin/swin_tiny_patch4_window14_224.yaml' },
    ...{ parameters: 28, tasks: BOTH, batchSize: 512 },
    ...{ pretraining: 'ImageNet-1K', linear: 78.7, knn: 77.0, recipe: SECOND_STAGE(200) },
    originalPath: `${SWIN}/swin_tiny/bl_lr0.0005_gpu16_bs32_multicrop_epoch300_dino_aug_window14/continued_from0200_dense/checkpoint_best.pth`,
  },
  {
    name: 'esvit_swin_small_w14',
    ...{ arch: 'swin_small', window: 14, cfg: 'configs/swin/swin_small_patch4_window14_224.yaml' },
    ...{ parameters: 49, tasks: BOTH, batchSize: 512 },
    ...{ pretraining: 'ImageNet-1K', linear: 80.8, knn: 79.1, recipe: SECOND_STAGE(180) },
    originalPath: `${SWIN}/swin_small/bl_lr0.0005_gpu16_bs16_multicrop_epoch300_dino_aug_window14/continued_from0180_dense/checkpoint_best.pth`,
  },
  {
    name: 'esvit_swin_base_w14',
    ...{ arch: 'swin_base', window: 14, cfg: 'configs/swin/swin_base_patch4_window14_224.yaml' },
    ...{ parameters: 87, tasks: BOTH, batchSize: 512 },
    ...{ pretraining: 'ImageNet-1K', linear: 81.3, knn: 79.3, recipe: SECOND_STAGE(200) },
    originalPath: `${SWIN}/swin_base/bl_lr0.0005_nodes4_gpu16_bs8_multicrop_epoch300_dino_aug_window14_lv/continued_from_epoch0200_dense_norm_true/checkpoint_best.pth`,
  },
  ...(
    [
      ['', 512, 'ImageNet-1K', 77.0, 74.2, 'bl_lr0.0005_gpu16_bs32_multicrop_epoch300_dino_aug_window7'],
      ['_bs1024', 1024, 'ImageNet-1K', 77.1, 73.7, 'bl_lr0.0005_gpu16_bs64_multicrop_epoch300'],
      [
        ...(['_webvision1', 1024, 'WebVision-v1', 75.4, 69.4] as const),
        'bl_lr0.0005_gpu16_bs64_multicrop_epoch150_dino_aug_window7_webvision1_debug',
      ],
      [
        ...(['_openimages4', 1024, 'OpenImages-v4', 69.6, 60.3] as const),
        'bl_lr0.0005_gpu16_bs64_multicrop_epoch150_dino_aug_window7_openimages_v4_debug',
      ],
      [
        ...(['_imagenet22k', 1024, 'ImageNet-22K', 73.5, 66.1] as const),
        'bl_lr0.0005_gpu16_bs64_multicrop_epoch300_dino_aug_window7_imagenet22k_debug',
      ],
    ] as const
  ).map(
    ([suffix, batchSize, pretraining, linear, knn, folder]): PublishedModel => ({
      name: `esvit_swin_tiny_w7_view${suffix}`,
      ...{ arch: 'swin_tiny', window: 7, cfg: TINY_7, parameters: 28, tasks: 'view' },
      ...{ batchSize, pretraining, linear, knn, recipe: 'views alone' },
      originalPath: `${SWIN}/swin_tiny/${folder}/checkpoint.pth`,
    }),
  ),
];

export function publishedModel(name: string): PublishedModel | undefined {
  return publishedModels.find((model) => model.name === name);
}

export interface WhereOptions extends FetchOptions {
  /** folder or address of files named after models; else ESVIT_WEIGHTS of the environment */
  base?: string | undefined;
}

/** A path for what a person calls weights: a file, an address, or the name of a published model. */
export async function locateWeights(where: string, options: WhereOptions = {}): Promise<string> {
  if (isAddress(where)) return await fetchWeights(where, options);
  if (existsSync(where)) return where;
  const model = publishedModel(where);
  if (model !== undefined) return await locatePublished(model, options);
  const names = publishedModels.map(({ name }) => name);
  throw new UserError(
    'checkpoint',
    /[/\\.]/.test(where)
      ? `There is no file ${where}; check the path of the weights.`
      : `'${where}' is neither a file nor a published model.${didYouMean(where, names)} esvit models lists them.`,
  );
}

async function locatePublished(model: PublishedModel, options: WhereOptions): Promise<string> {
  const { name, originalPath } = model;
  const base = options.base || process.env.ESVIT_WEIGHTS;
  if (base === undefined || base === '')
    throw new UserError(
      'checkpoint',
      `${name}: the authors' links are dead, so somebody has to give the file. Set --weights_base (or ESVIT_WEIGHTS) to a folder or https address that holds ${name}.pth.`,
    );
  if (isAddress(base)) return await fetchWeights(`${base.replace(/\/+$/, '')}/${name}.pth`, options);
  const places = [`${name}.pth`, `${name}.safetensors`, originalPath].map((place) => join(base, place));
  const found = places.find((place) => existsSync(place));
  if (found === undefined)
    throw new UserError(
      'checkpoint',
      `${base} holds no ${name}.pth, ${name}.safetensors or ${originalPath}; put the file there.`,
    );
  return found;
}
