/** Finds out how the pictures of a path are laid out: which layout, and which splits of it. */

import { type Dirent, existsSync, opendirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { isImageName } from './file-list.js';
import { WEBVISION_LISTS } from './listed-sources.js';
import { OPEN_IMAGES } from './open-tsv.js';
import { sortByCodePoint } from './packed-strings.js';

export type Split = 'train' | 'val';

export type LayoutKind =
  | 'folder'
  | 'zip'
  | 'tsv'
  | 'imagenet22k'
  | 'webvision1'
  | 'openimages_v4'
  | 'tar'
  | 'list';

export interface ImageLayout {
  kind: LayoutKind;
  /** the splits that lie there; empty: the path itself is the only set */
  splits: readonly Split[];
  /** the files of a split ('all' where there are no splits), for layouts that are made of files */
  files: Readonly<Partial<Record<Split | 'all', readonly string[]>>>;
}

/** The flags of a command that say what lies in its --data_path. */
export interface LayoutFlags {
  dataset?: string;
  zip_mode?: boolean;
  tsv_mode?: boolean;
}

const SPLITS: readonly Split[] = ['train', 'val'];
const LIST_ENDINGS: readonly string[] = ['.txt', '.csv', '.lst', '.list'];
export const LABEL_MAP_22K = 'labelmap_22k_reorder.txt';

/** The layout that the flags ask for; undefined where they leave it to what is there. */
export function layoutAsked({
  dataset = '',
  zip_mode: isZip,
  tsv_mode: isTsv,
}: LayoutFlags): LayoutKind | undefined {
  if (isZip && isTsv)
    throw new UserError('usage', '--zip_mode and --tsv_mode exclude each other; leave one of them out.');
  if (dataset.includes('webvision1')) return 'webvision1';
  if (dataset.includes('openimages_v4')) return 'openimages_v4';
  if (isZip) return 'zip';
  if (isTsv) return dataset.includes('imagenet22k') ? 'imagenet22k' : 'tsv';
  return undefined;
}

/** What lies in `path`, or a UserError that says what was expected there for `kind`. */
export function imageLayout(path: string, kind?: LayoutKind): ImageLayout {
  if (!existsSync(path))
    throw new UserError(
      'data',
      `the data path ${resolve(path)} does not exist. Name a folder with pictures.`,
    );
  const layout = statSync(path).isDirectory() ? inFolder(path, kind) : ofFile(path, kind);
  if (layout !== undefined) return layout;
  throw new UserError(
    'data',
    `${expected(kind ?? 'folder')} in ${resolve(path)}; nothing of the kind is there.`,
  );
}

function ofFile(path: string, kind: LayoutKind | undefined): ImageLayout {
  const name = path.toLowerCase();
  const all = (found: LayoutKind): ImageLayout => ({ kind: found, splits: [], files: { all: [path] } });
  if (/\.(tgz|tar\.(gz|xz|zst|bz2))$/.test(name))
    throw new UserError(
      'data',
      `${resolve(path)} is a compressed tar archive, in which no picture can be found without unpacking all before it. Unpack it to a .tar.`,
    );
  const found: LayoutKind | undefined = name.endsWith('.zip')
    ? 'zip'
    : name.endsWith('.tsv')
      ? 'tsv'
      : name.endsWith('.tar')
        ? 'tar'
        : LIST_ENDINGS.some((ending) => name.endsWith(ending))
          ? 'list'
          : undefined;
  if (found === undefined || (kind !== undefined && kind !== found))
    throw new UserError(
      'data',
      `the data path ${resolve(path)} is a file. Expected a folder, or a .zip, .tsv, .tar, .txt or .csv file.`,
    );
  return all(found);
}

type Finder = (path: string) => ImageLayout | undefined;

/** In the order in which they are looked for. */
const FINDERS: Readonly<Record<LayoutKind, Finder>> = {
  zip: (path) => bySplit(path, 'zip', (split) => existing(join(path, `${split}.zip`))),
  webvision1: (path) =>
    existsSync(join(path, WEBVISION_LISTS[0]))
      ? { kind: 'webvision1', splits: ['train'], files: {} }
      : undefined,
  openimages_v4: (path) =>
    existsSync(join(path, OPEN_IMAGES.lineidx)) || existsSync(join(path, OPEN_IMAGES.labels))
      ? { kind: 'openimages_v4', splits: ['train'], files: {} }
      : undefined,
  imagenet22k: (path) =>
    existsSync(join(path, LABEL_MAP_22K))
      ? bySplit(path, 'imagenet22k', (split) => tsvFiles(path, split))
      : undefined,
  tsv: (path) => bySplit(path, 'tsv', (split) => tsvFiles(path, split)) ?? loose(path, 'tsv', '.tsv'),
  tar: (path) => bySplit(path, 'tar', (split) => tarFiles(path, split)) ?? loose(path, 'tar', '.tar'),
  list: (path) => bySplit(path, 'list', (split) => listFiles(path, split)),
  folder: (path) => {
    const folders = SPLITS.filter((split) => isFolder(join(path, split)));
    return { kind: 'folder', splits: folders.includes('train') ? folders : [], files: {} };
  },
};

function inFolder(path: string, kind: LayoutKind | undefined): ImageLayout | undefined {
  if (kind !== undefined) return FINDERS[kind](path);
  for (const find of Object.values(FINDERS)) {
    const layout = find(path);
    if (layout !== undefined) return layout;
  }
  return undefined;
}

function expected(kind: LayoutKind): string {
  const what: Record<LayoutKind, string> = {
    folder: 'a folder of pictures',
    zip: 'train.zip and train_map.txt',
    tsv: 'train.tsv, or a folder train with .tsv files',
    imagenet22k: `${LABEL_MAP_22K} and train.tsv, or a folder train with .tsv files`,
    webvision1: WEBVISION_LISTS.join(' and '),
    openimages_v4: Object.values(OPEN_IMAGES).join(', '),
    tar: 'train.tar, train-000000.tar …, or a folder train with .tar files',
    list: 'train.txt or train.csv',
  };
  return `expected ${what[kind]}`;
}

function bySplit(
  path: string,
  kind: LayoutKind,
  filesOf: (split: Split, path: string) => readonly string[],
): ImageLayout | undefined {
  const files: Partial<Record<Split, readonly string[]>> = {};
  for (const split of SPLITS) {
    const found = filesOf(split, path);
    if (found.length > 0) files[split] = found;
  }
  const splits = SPLITS.filter((split) => files[split] !== undefined);
  return splits.length > 0 ? { kind, splits, files } : undefined;
}

/** Shards that lie in the folder itself, without splits. */
function loose(path: string, kind: LayoutKind, ending: string): ImageLayout | undefined {
  const all = filesOnly(path, ending);
  return all.length > 0 ? { kind, splits: [], files: { all } } : undefined;
}

function tsvFiles(path: string, split: Split): readonly string[] {
  const single = existing(join(path, `${split}.tsv`));
  return single.length > 0 ? single : filesOnly(join(path, split), '.tsv');
}

function tarFiles(path: string, split: Split): readonly string[] {
  const single = existing(join(path, `${split}.tar`));
  if (single.length > 0) return single;
  const shards = filesOfSplit(path, split, '.tar');
  return shards.length > 0 ? shards : filesOnly(join(path, split), '.tar');
}

/** A list counts only where no folder of the split's name lies beside it. */
function listFiles(path: string, split: Split): readonly string[] {
  if (isFolder(join(path, 'train')) || isFolder(join(path, split))) return [];
  return LIST_ENDINGS.map((ending) => join(path, split + ending))
    .filter((file) => existsSync(file))
    .slice(0, 1);
}

function existing(path: string): readonly string[] {
  return existsSync(path) ? [path] : [];
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Files of an ending in a folder that holds neither pictures nor other folders, by code point; else none. */
function filesOnly(folder: string, ending: string): string[] {
  const names: string[] = [];
  for (const entry of entriesOf(folder)) {
    if (isImageName(entry.name) || (entry.isDirectory() && !entry.name.startsWith('.'))) return [];
    if (isShard(entry, ending)) names.push(entry.name);
  }
  return sortByCodePoint(names).map((name) => join(folder, name));
}

/** Files of a split, whatever lies beside them: `train-000000.tar`, `train_1.tar`. */
function filesOfSplit(folder: string, split: Split, ending: string): string[] {
  const isOfSplit = new RegExp(`^${split}[-_.]`, 'i');
  const names: string[] = [];
  for (const entry of entriesOf(folder)) {
    if (isImageName(entry.name)) return [];
    if (isShard(entry, ending) && isOfSplit.test(entry.name)) names.push(entry.name);
  }
  return sortByCodePoint(names).map((name) => join(folder, name));
}

function isShard(entry: Dirent, ending: string): boolean {
  const { name } = entry;
  return name.toLowerCase().endsWith(ending) && !entry.isDirectory() && !name.startsWith('.');
}

/** In no order, and without holding them, since there may be a million. */
function* entriesOf(folder: string): Generator<Dirent> {
  if (!isFolder(folder)) return;
  try {
    const entries = opendirSync(folder, { bufferSize: 256 });
    try {
      for (let entry = entries.readSync(); entry !== null; entry = entries.readSync()) yield entry;
    } finally {
      entries.closeSync();
    }
  } catch (error) {
    throw new UserError('data', `cannot read the folder ${folder} (${messageOf(error)}).`, { cause: error });
  }
}
