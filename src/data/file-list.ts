/** Pictures as files of their own, whatever list they came from. */

import { readFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { atMostOne, type LabelKind } from './labels.js';
import { PackedStrings, type SharedStrings } from './packed-strings.js';
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

export function isImageName(name: string): boolean {
  return EXTENSION.test(name);
}

export interface SharedFiles {
  kind: 'files';
  description: string;
  root: string;
  /** below `root`, or absolute */
  paths: SharedStrings;
  labels: Int32Array;
  classes: readonly string[];
}

class FileList implements ImageSource {
  private readonly paths: PackedStrings;

  constructor(private readonly shared: SharedFiles) {
    this.paths = new PackedStrings(shared.paths);
  }

  get length(): number {
    return this.paths.length;
  }

  get classes(): readonly string[] {
    return this.shared.classes;
  }

  get labelKind(): LabelKind {
    return this.classes.length > 0 ? 'single' : 'none';
  }

  get description(): string {
    return this.shared.description;
  }

  get chunks(): readonly number[] {
    return [this.length];
  }

  label(index: number): number {
    return this.shared.labels[index];
  }

  labels(index: number): readonly number[] {
    return atMostOne(this.label(index));
  }

  key(index: number): string {
    return this.paths.at(index);
  }

  /** Synchronous: it is called in worker threads, where one call costs a fifth of the asynchronous way. */
  read(index: number): Uint8Array {
    const path = this.paths.at(index);
    return readFileSync(isAbsolute(path) ? path : join(this.shared.root, path));
  }

  share(): SharedFiles {
    return this.shared;
  }

  close(): void {}
}

export function openSharedFiles(shared: SharedFiles): ImageSource {
  return new FileList(shared);
}
