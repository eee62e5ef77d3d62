/** Finds out how the pictures of a folder are laid out, and opens them. */

import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { type FolderOptions, openFolder } from './folder-source.js';
import type { ImageSource } from './source.js';
import { openZip } from './zip-source.js';

export type Split = 'train' | 'val';

export interface ImageLayout {
  kind: 'folder' | 'zip';
  /** the splits that lie there; empty: the folder itself is the only set */
  splits: readonly Split[];
}

export interface OpenImagesOptions {
  /** default 'train'. Where `path` has no splits, it is itself the training set. */
  split?: Split;
  /** default: what lies there, zips before folders */
  layout?: ImageLayout['kind'];
  labels?: FolderOptions['labels'];
  /** the classes of the training set, when another split of class folders is opened */
  classes?: readonly string[];
}

/** What lies in `path`: `train.zip`/`val.zip`, `train/`/`val/`, or pictures. */
export function imageLayout(path: string, kind?: ImageLayout['kind']): ImageLayout {
  if (!existsSync(path))
    throw new UserError(
      'data',
      `the data path ${resolve(path)} does not exist. Name a folder with pictures.`,
    );
  if (!statSync(path).isDirectory()) {
    if (path.toLowerCase().endsWith('.zip') && kind !== 'folder') return { kind: 'zip', splits: [] };
    throw new UserError(
      'data',
      `the data path ${resolve(path)} is a file. Expected a folder or a zip archive.`,
    );
  }
  const both: Split[] = ['train', 'val'];
  const zips = both.filter((split) => existsSync(join(path, `${split}.zip`)));
  if (kind !== 'folder' && zips.length > 0) return { kind: 'zip', splits: zips };
  if (kind === 'zip')
    throw new UserError(
      'data',
      `expected train.zip and train_map.txt in ${resolve(path)}; there is no train.zip.`,
    );
  const folders = both.filter((split) => isFolder(join(path, split)));
  return { kind: 'folder', splits: folders.includes('train') ? folders : [] };
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Opens a split of a data set. Throws a UserError that says what was expected where nothing fits. */
export async function openImages(path: string, options: OpenImagesOptions = {}): Promise<ImageSource> {
  const split = options.split ?? 'train';
  const { kind, splits } = imageLayout(path, options.layout);
  const whole = splits.length === 0;
  if (whole ? split !== 'train' : !splits.includes(split))
    throw new UserError(
      'data',
      `${resolve(path)} has no '${split}' split. Expected ${kind === 'zip' ? `${split}.zip` : `a folder '${split}'`} in it.`,
    );
  if (kind === 'zip') {
    const archive = whole ? path : join(path, `${split}.zip`);
    const map = archive.replace(/\.zip$/i, '_map.txt');
    return openZip(archive, {
      labels: options.labels !== 'none',
      ...(existsSync(map) ? { map } : {}),
    });
  }
  return openFolder(whole ? path : join(path, split), {
    ...(options.labels ? { labels: options.labels } : {}),
    ...(options.classes ? { classes: options.classes } : {}),
  });
}
