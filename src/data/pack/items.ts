/** The pictures of a source on their way into an archive: read, perhaps made smaller, and named. */

import { messageOf } from '../../errors.js';
import type { ImageSource } from '../source.js';
import { type ShrinkOptions, shrink } from './shrink.js';

export interface PackItem {
  index: number;
  /** unique, without folders above it and without an ending */
  name: string;
  extension: string;
  /** -1 = none */
  label: number;
  bytes: Uint8Array;
  isChanged: boolean;
}

/** Pictures in work at a time. */
const AHEAD = 8;

export interface ItemOptions extends ShrinkOptions {
  /** told of each picture that is left out */
  onBad: (key: string, reason: string) => void;
}

/** In the order of the source. A picture that cannot be read, or not be made smaller, is left out. */
export async function* packItems(source: ImageSource, options: ItemOptions): AsyncGenerator<PackItem> {
  const names = new UniqueNames();
  const work = async (index: number) => shrink(await source.read(index), options);
  const waiting: { index: number; result: ReturnType<typeof work> }[] = [];
  let next = 0;
  const ask = () => {
    if (next >= source.length) return;
    const index = next++;
    const result = work(index);
    result.catch(() => undefined); // reported when its turn comes
    waiting.push({ index, result });
  };
  for (let i = 0; i < AHEAD; i++) ask();
  for (let first = waiting.shift(); first !== undefined; first = waiting.shift()) {
    ask();
    const { index, result } = first;
    try {
      const { bytes, extension, isChanged } = await result;
      if (bytes.length === 0) throw new Error('the file is empty');
      yield {
        index,
        name: names.of(nameOf(source, index)),
        extension: extension ?? '.png',
        label: source.label(index),
        bytes,
        isChanged,
      };
    } catch (error) {
      options.onBad(source.key(index), messageOf(error).split('\n')[0]);
    }
  }
}

/** The key without its ending and without the class folder, in characters that fit anywhere. */
function nameOf(source: ImageSource, index: number): string {
  const label = source.label(index);
  const folder = label < 0 ? '' : `${source.classes[label]}/`;
  let key = source.key(index);
  if (folder !== '' && key.startsWith(folder)) key = key.slice(folder.length);
  return plain(key.replace(/\.(jpe?g|png|ppm|pgm|bmp|tiff?|webp|gif|avif)$/i, ''));
}

/** One path component: no folders, no control characters, not hidden. */
export function plain(text: string): string {
  const name = text
    .replace(/[\\/]+/g, '_')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what has to go
    .replace(/[\x00-\x1f\x7f:]/g, ' ')
    .trim()
    .replace(/^[._]+/, '');
  return name === '' ? 'picture' : name;
}

class UniqueNames {
  private readonly seen = new Map<string, number>();

  of(name: string): string {
    const count = this.seen.get(name) ?? 0;
    this.seen.set(name, count + 1);
    return count === 0 ? name : this.of(`${name}~${count + 1}`);
  }
}
