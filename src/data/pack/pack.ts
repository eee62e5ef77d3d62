/** Packs the pictures of a source into one of the layouts that are read fast from any disk. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, UserError } from '../../errors.js';
import { diskError, writeFileAtomic } from '../../files.js';
import { CLASSES_FILE } from '../labels.js';
import type { Split } from '../layout.js';
import type { ImageSource } from '../source.js';
import { type PackItem, packItems } from './items.js';
import { packTar } from './pack-tar.js';
import { packTsv } from './pack-tsv.js';
import { packZip } from './pack-zip.js';

export const PACK_FORMATS = ['zip', 'tsv', 'tar'] as const;
export type PackFormat = (typeof PACK_FORMATS)[number];

export interface PackOptions {
  format: PackFormat;
  split: Split;
  /** make pictures smaller whose longer side has more pixels */
  maxSide?: number;
  /** of JPEGs that are written anew */
  quality: number;
  /** bytes of a tar shard */
  shardBytes: number;
  onProgress?: (done: number) => void;
  onBad?: (key: string, reason: string) => void;
}

export interface PackResult {
  files: string[];
  pictures: number;
  leftOut: number;
  /** pictures whose bytes are others than before */
  changed: number;
  bytes: number;
}

/** What a writer of a layout gets. */
export interface PackTarget {
  folder: string;
  split: Split;
  /** empty where pictures have no label, or several */
  classes: readonly string[];
  shardBytes: number;
}

export type PackWriter = (
  items: AsyncIterable<PackItem>,
  target: PackTarget,
) => Promise<{ files: string[]; bytes: number }>;

const WRITERS: Readonly<Record<PackFormat, PackWriter>> = { zip: packZip, tsv: packTsv, tar: packTar };

/** Every file appears under its name when it is whole. */
export async function packImages(
  source: ImageSource,
  folder: string,
  options: PackOptions,
): Promise<PackResult> {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    const known = diskError(folder, error);
    if (known !== error) throw known;
    throw new UserError('disk', `cannot write into ${folder}, since it is no folder (${messageOf(error)}).`);
  }
  const isLabelled = source.labelKind === 'single';
  const classes = isLabelled ? source.classes : [];
  const result: PackResult = { files: [], pictures: 0, leftOut: 0, changed: 0, bytes: 0 };
  const items = async function* () {
    const all = packItems(source, {
      quality: options.quality,
      ...(options.maxSide !== undefined && { maxSide: options.maxSide }),
      onBad: (key, reason) => {
        result.leftOut++;
        options.onBad?.(key, reason);
      },
    });
    for await (const item of all) {
      if (options.format === 'zip' && isLabelled && item.label < 0) {
        result.leftOut++;
        options.onBad?.(source.key(item.index), 'it has no label, and the map of a zip needs one');
        continue;
      }
      result.pictures++;
      if (item.isChanged) result.changed++;
      yield isLabelled ? item : { ...item, label: -1 };
      options.onProgress?.(item.index + 1);
    }
  };
  const { split, shardBytes } = options;
  const { files, bytes } = await WRITERS[options.format](items(), { folder, split, classes, shardBytes });
  if (options.format !== 'zip' && classes.some((name, i) => name !== String(i))) {
    const path = join(folder, CLASSES_FILE);
    writeFileAtomic(path, classes.map((name) => `${name.replace(/\s+/g, ' ')}\n`).join(''));
    files.push(path);
  }
  return { ...result, files, bytes };
}
