/** Opens a split of a data set, whatever its layout. */

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { type FolderOptions, openFolder } from './folder-source.js';
import { imageLayout, LABEL_MAP_22K, type LayoutKind, type Split } from './layout.js';
import { openList, openWebVision } from './listed-sources.js';
import { openOpenImages, openTsv } from './open-tsv.js';
import type { ImageSource } from './source.js';
import { openTar } from './tar-source.js';
import { openZip } from './zip-source.js';

export interface OpenImagesOptions {
  /** default 'train'. Where `path` has no splits, it is itself the training set. */
  split?: Split;
  /** default: what lies there */
  layout?: LayoutKind | undefined;
  labels?: FolderOptions['labels'];
  /** the classes of the training set, when another split is opened */
  classes?: readonly string[];
  /** told what takes long */
  note?: (line: string) => void;
}

/** Throws a UserError that says what was expected where nothing fits. */
export async function openImages(path: string, options: OpenImagesOptions = {}): Promise<ImageSource> {
  const split = options.split ?? 'train';
  const { kind, splits, files } = imageLayout(path, options.layout);
  const isWhole = splits.length === 0;
  if (isWhole ? split !== 'train' : !splits.includes(split))
    throw new UserError('data', `${resolve(path)} has no '${split}' split. ${wanted(kind, split)}`);
  const own = files[isWhole ? 'all' : split] ?? [];
  const common = {
    labels: options.labels !== 'none',
    ...(options.classes !== undefined && { classes: options.classes }),
    ...(options.note !== undefined && { note: options.note }),
  };
  switch (kind) {
    case 'zip': {
      const map = own[0].replace(/\.zip$/i, '_map.txt');
      return openZip(own[0], { ...common, ...(existsSync(map) && { map }) });
    }
    case 'tsv':
      return openTsv(own, common);
    case 'imagenet22k':
      return openTsv(own, { ...common, map: labelMap(path) });
    case 'openimages_v4':
      return openOpenImages(path, common);
    case 'webvision1':
      return openWebVision(path, common);
    case 'tar':
      return openTar(own, common);
    case 'list':
      return openList(own[0], common);
    case 'folder':
      return openFolder(isWhole ? path : join(path, split), {
        ...(options.labels ? { labels: options.labels } : {}),
        ...(options.classes ? { classes: options.classes } : {}),
      });
  }
}

function labelMap(path: string): string {
  const map = join(path, LABEL_MAP_22K);
  if (!existsSync(map))
    throw new UserError('data', `ImageNet-22K needs ${LABEL_MAP_22K} in ${resolve(path)}; it is not there.`);
  return map;
}

function wanted(kind: LayoutKind, split: Split): string {
  if (kind === 'folder') return `Expected a folder '${split}' in it.`;
  if (kind === 'webvision1' || kind === 'openimages_v4') return 'This layout has a training set only.';
  const ending = { zip: 'zip', tsv: 'tsv', imagenet22k: 'tsv', tar: 'tar', list: 'txt' }[kind];
  return `Expected ${split}.${ending} in it.`;
}
