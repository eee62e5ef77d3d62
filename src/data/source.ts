/** Where encoded pictures come from: a list with random access that any thread can open. */

import { internal } from '../errors.js';
import { openSharedFiles, type SharedFiles } from './file-list.js';
import type { LabelKind } from './labels.js';
import { openSharedTar, type SharedTar } from './tar-source.js';
import { openSharedTsv, type SharedTsv } from './tsv-source.js';
import { openSharedZip, type SharedZip } from './zip-source.js';

/** n encoded pictures. All methods throw an Error with the reason where a picture cannot be had. */
export interface ImageSource {
  readonly length: number;
  readonly labelKind: LabelKind;
  /**
   * Names of the labels 0..; empty without labels. Some layouts have to read the label of every picture for it
   * once, so ask `labelKind` where that is enough.
   */
  readonly classes: readonly string[];
  /** The layout in a few words, for people: "folder with 10 classes". */
  readonly description: string;
  /** How many pictures lie together in each file or shard, in order; one number where all do. */
  readonly chunks: readonly number[];
  /** -1 = no label, or not one alone. Never throws. */
  label(index: number): number;
  /** All labels of a picture, ascending. */
  labels(index: number): readonly number[];
  /** Names the picture for people and logs. Never throws. */
  key(index: number): string;
  read(index: number): Uint8Array | Promise<Uint8Array>;
  /** Everything a worker thread needs to open the same source; its memory is shared, not copied. */
  share(): SharedSource;
  close(): void;
}

export type SharedSource = SharedFiles | SharedZip | SharedTsv | SharedTar;

/** The other end of `ImageSource.share`. */
export function openShared(shared: SharedSource): ImageSource {
  switch (shared.kind) {
    case 'files':
      return openSharedFiles(shared);
    case 'zip':
      return openSharedZip(shared);
    case 'tsv':
      return openSharedTsv(shared);
    case 'tar':
      return openSharedTar(shared);
    default:
      throw internal(`a shared source of kind ${String((shared as { kind: unknown }).kind)}`);
  }
}
