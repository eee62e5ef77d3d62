/** Where encoded pictures come from: a list with random access that any thread can open. */

import { openSharedFolder, type SharedFolder } from './folder-source.js';
import { openSharedZip, type SharedZip } from './zip-source.js';

/** n encoded pictures. All methods throw an Error with the reason where a picture cannot be had. */
export interface ImageSource {
  readonly length: number;
  /** Names of the labels 0..; empty without labels. */
  readonly classes: readonly string[];
  /** The layout in a few words, for people: "folder with 10 classes". */
  readonly description: string;
  /** -1 = no label */
  label(index: number): number;
  /** Names the picture for people and logs; unique inside the source. */
  key(index: number): string;
  read(index: number): Uint8Array | Promise<Uint8Array>;
  /** Everything a worker thread needs to open the same source; its memory is shared, not copied. */
  share(): SharedSource;
  close(): void;
}

export type SharedSource = SharedFolder | SharedZip;

/** The other end of `ImageSource.share`. */
export function openShared(shared: SharedSource): ImageSource {
  return shared.kind === 'folder' ? openSharedFolder(shared) : openSharedZip(shared);
}
