/** A labelled set of two splits whose classes a network can tell apart: dark pictures and light ones. */

import { encode, writeTree } from '../data/pictures.js';

/** `perClass` pictures of 20 pixels in each class of the training split, half as many in val. */
export async function writeLabelled(perClass: number): Promise<string> {
  const files: Record<string, Uint8Array> = {};
  for (const [split, count] of [
    ['train', perClass],
    ['val', Math.ceil(perClass / 2)],
  ] as const)
    for (const [name, level] of [
      ['dark', 40],
      ['light', 200],
    ] as const)
      for (let i = 0; i < count; i++) {
        const data = Uint8Array.from({ length: 20 * 20 * 3 }, (_, at) => level + ((at * (i + 3)) % 40));
        files[`${split}/${name}/${i}.png`] = await encode({ data, width: 20, height: 20 });
      }
  return writeTree(files);
}
