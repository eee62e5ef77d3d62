/** `train.tsv` with rows of key, label and base64, and `train.lineidx` with where they begin. */

import { join } from 'node:path';
import { AtomicFile } from '../../files.js';
import type { PackWriter } from './pack.js';

export const packTsv: PackWriter = async (items, { folder, split }) => {
  const tsv = new AtomicFile(join(folder, `${split}.tsv`));
  let lineidx: AtomicFile | undefined;
  try {
    lineidx = new AtomicFile(join(folder, `${split}.lineidx`));
    for await (const { name, label, bytes } of items) {
      lineidx.append(Buffer.from(`${tsv.size}\n`));
      const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
      tsv.append(Buffer.from(`${name}\t${label < 0 ? '' : label}\t${base64}\n`));
    }
    tsv.commit();
    lineidx.commit();
    return { files: [tsv.path, lineidx.path], bytes: tsv.size };
  } finally {
    tsv.abandon();
    lineidx?.abandon();
  }
};
