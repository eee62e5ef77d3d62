/** Folders of pictures: class folders as torchvision's ImageFolder reads them, or any tree without labels. */

import { type Dirent, opendirSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { IMAGE_EXTENSIONS, isImageName, openSharedFiles } from './file-list.js';
import { GrowingNumbers, GrowingStrings } from './growing-lists.js';
import { ClassNumbers, classesText } from './labels.js';
import { sortByCodePoint } from './packed-strings.js';
import type { ImageSource } from './source.js';

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
  const { files: beside, folders, id } = list(root, '');
  const found: string[] = [];
  const paths = new GrowingStrings();
  const folderOf = new GrowingNumbers(Int32Array);
  for (const top of folders) {
    const before = paths.length;
    // Class by class, then by path inside the class: as whole paths, 'a-b' would come before 'a/b'.
    for (const { folder, names } of filesBelow(root, top, [id]))
      for (const name of names) {
        paths.push(`${folder}/${name}`);
        folderOf.push(found.length);
      }
    if (paths.length > before) found.push(top);
  }
  const wanted = options.labels ?? 'auto';
  const labelled =
    wanted === 'folders' || (wanted === 'auto' && paths.length > 0 && paths.length >= beside.length);
  if ((labelled ? 0 : beside.length) + paths.length === 0)
    throw new UserError(
      'data',
      `no pictures found in ${root}${labelled ? "'s sub-folders" : ' or its sub-folders'}. Expected files ending in ` +
        `${IMAGE_EXTENSIONS.join(' ')}.`,
    );
  if (!labelled) return unlabelled(root, beside, paths);
  const classes = new ClassNumbers(found, root, options.classes);
  const numbers = found.map((name) => classes.of(name));
  const labels = folderOf.finish();
  for (let i = 0; i < labels.length; i++) labels[i] = numbers[labels[i]];
  return openSharedFiles({
    kind: 'files',
    description: `folder ${classesText(classes.names.length)}`,
    root,
    paths: paths.finish().shared,
    labels,
    classes: classes.names,
  });
}

function unlabelled(root: string, beside: readonly string[], below: GrowingStrings): ImageSource {
  const rest = below.finish();
  const paths = new GrowingStrings();
  for (const name of beside) paths.push(name);
  for (let i = 0; i < rest.length; i++) paths.push(rest.bytesAt(i));
  const labels = new Int32Array(new SharedArrayBuffer(paths.length * 4)).fill(-1);
  return openSharedFiles({
    kind: 'files',
    description: `folder ${classesText(0)}`,
    root,
    paths: paths.finish().shared,
    labels,
    classes: [],
  });
}

/** The folders at and below `top` that hold pictures, sorted by their paths. */
function filesBelow(
  root: string,
  top: string,
  above: readonly string[],
): { folder: string; names: string[] }[] {
  const found: { folder: string; names: string[] }[] = [];
  const visit = (folder: string, above: readonly string[]): void => {
    const { id, files, folders } = list(root, folder);
    if (above.includes(id)) return; // a symbolic link that leads back up
    if (files.length > 0) found.push({ folder, names: files });
    for (const name of folders) visit(`${folder}/${name}`, [...above, id]);
  };
  visit(top, above);
  const byFolder = new Map(found.map((one) => [one.folder, one]));
  return sortByCodePoint([...byFolder.keys()]).map((folder) => byFolder.get(folder)!);
}

/** The pictures and the folders right in a folder, each sorted, and what identifies it under any name. */
function list(root: string, folder: string): { id: string; files: string[]; folders: string[] } {
  const path = join(root, folder);
  const files: string[] = [];
  const folders: string[] = [];
  try {
    const { dev, ino } = statSync(path);
    const entries = opendirSync(path, { bufferSize: 1024 });
    try {
      for (let entry = entries.readSync(); entry !== null; entry = entries.readSync()) {
        const kind = kindOf(path, entry);
        if (kind === 'folder') folders.push(entry.name);
        else if (kind === 'file' && isImageName(entry.name)) files.push(entry.name);
      }
    } finally {
      entries.closeSync();
    }
    return { id: `${dev}:${ino}`, files: sortByCodePoint(files), folders: sortByCodePoint(folders) };
  } catch (error) {
    throw new UserError('data', `cannot read the folder ${path} (${messageOf(error)}).`, { cause: error });
  }
}

function kindOf(folder: string, entry: Dirent): 'file' | 'folder' | 'other' {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  // Some file systems do not say what an entry is; a symbolic link says it at its end.
  let target: Stats;
  try {
    target = statSync(join(folder, entry.name));
  } catch {
    return 'other'; // leads nowhere
  }
  if (target.isDirectory()) return 'folder';
  return target.isFile() ? 'file' : 'other';
}
