/** Pictures as files: class folders as torchvision's ImageFolder reads them, or any tree without labels. */

import { type Dirent, readdirSync, readFileSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { PackedStrings, type SharedStrings, sharedInt32, sortByCodePoint } from './packed-strings.js';
import type { ImageSource } from './source.js';

/** File names that count as pictures, in any case. */
export const IMAGE_EXTENSIONS: readonly string[] = [
  '.jpg',
  '.jpeg',
  '.png',
  '.ppm',
  '.bmp',
  '.pgm',
  '.tif',
  '.tiff',
  '.webp',
  '.gif',
  '.avif',
];

const EXTENSION = new RegExp(`(${IMAGE_EXTENSIONS.map((text) => `\\${text}`).join('|')})$`, 'i');

export interface SharedFolder {
  kind: 'folder';
  root: string;
  paths: SharedStrings;
  labels: Int32Array;
  classes: readonly string[];
}

class FolderSource implements ImageSource {
  private readonly paths: PackedStrings;

  constructor(private readonly shared: SharedFolder) {
    this.paths = new PackedStrings(shared.paths);
  }

  get length(): number {
    return this.paths.length;
  }

  get classes(): readonly string[] {
    return this.shared.classes;
  }

  get description(): string {
    return this.classes.length > 0 ? `folder with ${this.classes.length} classes` : 'folder without labels';
  }

  label(index: number): number {
    return this.shared.labels[index];
  }

  key(index: number): string {
    return this.paths.at(index);
  }

  /** Synchronous: it is called in worker threads, where one call costs a fifth of the asynchronous way. */
  read(index: number): Uint8Array {
    return readFileSync(join(this.shared.root, this.paths.at(index)));
  }

  share(): SharedFolder {
    return this.shared;
  }

  close(): void {}
}

export function openSharedFolder(shared: SharedFolder): ImageSource {
  return new FolderSource(shared);
}

export interface FolderOptions {
  /** 'folders': sub-folders are classes. 'none': no labels. 'auto': classes, if most pictures lie in sub-folders. */
  labels?: 'auto' | 'folders' | 'none';
  /** The classes of another split, whose numbers shall be used; a folder beside them is an error. */
  classes?: readonly string[];
}

/**
 * Lists the pictures below `root`. Classes are its sub-folders that hold pictures, sorted by code point; files
 * beside them are left out, as torchvision does.
 */
export function openFolder(root: string, options: FolderOptions = {}): ImageSource {
  const files = walk(root);
  const inFolders = files.filter((path) => path.includes('/'));
  const wanted = options.labels ?? 'auto';
  const labelled =
    wanted === 'folders' ||
    (wanted === 'auto' && inFolders.length > 0 && inFolders.length * 2 >= files.length);
  const chosen = labelled ? inFolders : files;
  if (chosen.length === 0)
    throw new UserError(
      'data',
      `no pictures found in ${root}${labelled ? "'s sub-folders" : ' or its sub-folders'}. Expected files ending in ` +
        `${IMAGE_EXTENSIONS.join(' ')}.`,
    );
  const classOf = (path: string) => path.slice(0, path.indexOf('/'));
  const classes = labelled
    ? [...(options.classes ?? sortByCodePoint([...new Set(chosen.map(classOf))]))]
    : [];
  const numbers = new Map(classes.map((name, number) => [name, number]));
  const labels = chosen.map((path) => {
    if (!labelled) return -1;
    const number = numbers.get(classOf(path));
    if (number === undefined)
      throw new UserError(
        'data',
        `the class folder '${classOf(path)}' in ${root} is not among the ${classes.length} classes of the training set.`,
      );
    return number;
  });
  return new FolderSource({
    kind: 'folder',
    root,
    paths: PackedStrings.from(chosen).shared,
    labels: sharedInt32(labels),
    classes,
  });
}

/** All picture files below `folder`, in the order of torchvision: by folder path, then by name. */
function walk(root: string): string[] {
  const files: string[] = [];
  const found: { folder: string; names: string[] }[] = [];
  const visit = (folder: string, above: readonly string[]): void => {
    const { id, entries } = list(root, folder);
    if (above.includes(id)) return; // a symbolic link that leads back up
    const names: string[] = [];
    for (const entry of entries) {
      const kind = kindOf(root, folder, entry);
      if (kind === 'folder') visit(folder === '' ? entry.name : `${folder}/${entry.name}`, [...above, id]);
      else if (kind === 'file' && EXTENSION.test(entry.name)) names.push(entry.name);
    }
    if (names.length > 0) found.push({ folder, names: sortByCodePoint(names) });
  };
  visit('', []);
  // Class by class, then by path inside the class: as whole paths, 'a-b' would come before 'a/b'.
  const classes = new Map<string, Map<string, string[]>>();
  for (const { folder, names } of found) {
    const top = folder.split('/', 1)[0];
    const inside = classes.get(top) ?? new Map<string, string[]>();
    classes.set(top, inside.set(folder, names));
  }
  for (const top of sortByCodePoint([...classes.keys()])) {
    const inside = classes.get(top)!;
    for (const folder of sortByCodePoint([...inside.keys()]))
      for (const name of inside.get(folder)!) files.push(folder === '' ? name : `${folder}/${name}`);
  }
  return files;
}

function list(root: string, folder: string): { id: string; entries: Dirent[] } {
  const path = join(root, folder);
  try {
    const { dev, ino } = statSync(path);
    return { id: `${dev}:${ino}`, entries: readdirSync(path, { withFileTypes: true }) };
  } catch (error) {
    throw new UserError('data', `cannot read the folder ${path} (${messageOf(error)}).`, { cause: error });
  }
}

function kindOf(root: string, folder: string, entry: Dirent): 'file' | 'folder' | 'other' {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  if (!entry.isSymbolicLink()) return 'other';
  let target: Stats;
  try {
    target = statSync(join(root, folder, entry.name));
  } catch {
    return 'other'; // leads nowhere
  }
  if (target.isDirectory()) return 'folder';
  return target.isFile() ? 'file' : 'other';
}
