/** What a checkpoint holds, for a comparison to the last bit. */

import { type Tensor, TensorBase } from '../../src/torch/index.js';
import { entryOf, type PyValue, readPth } from '../../src/weights/index.js';

/** All tensors and numbers of a checkpoint by their path, without what may differ: places and names of files. */
export function contents(path: string): Map<string, string> {
  const found = new Map<string, string>();
  const walk = (place: string, value: PyValue | undefined): void => {
    if (value instanceof TensorBase)
      found.set(place, Buffer.from((value as Tensor).bytes()).toString('base64'));
    else if (value instanceof Map) for (const [key, item] of value) walk(`${place}.${String(key)}`, item);
    else if (Array.isArray(value)) for (const [i, item] of value.entries()) walk(`${place}.${i}`, item);
    else found.set(place, JSON.stringify(value));
  };
  const content = readPth(path);
  for (const key of ['student', 'teacher', 'optimizer', 'dino_loss', 'epoch', 'esvit'])
    walk(key, entryOf(content, key));
  return found;
}
