/** Pictures as an analysis takes them, and the second views whose true correspondence is known. */

import { readFile } from 'node:fs/promises';
import {
  applyPhotometric,
  decode,
  evaluationView,
  noChanges,
  normalise,
  PURPOSE,
  RandomStream,
  toPlanes,
} from '../data/index.js';
import type { Picture } from '../draw/index.js';
import { messageOf, UserError } from '../errors.js';
import { evaluationPlan } from '../eval/index.js';
import type { Backbone } from '../models/index.js';
import { type Device, scope, type Tensor, tensor } from '../torch/index.js';

/** What is looked at: a network in evaluation mode, and the side of the pictures that it is shown. */
export interface Subject {
  backbone: Backbone;
  device: Device;
  imageSize: number;
}

/**
 * A picture from a file: its middle, as evaluation shows it to a network, or the whole of a square picture, whose
 * places must stay where they are.
 */
export async function readPicture(
  path: string,
  size: number,
  part: 'middle' | 'whole' = 'middle',
): Promise<Picture> {
  const plan = part === 'middle' ? evaluationPlan(size) : { resize: size, size };
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new UserError('data', `${path} cannot be read (${messageOf(error)}). Give the path of a picture.`);
  }
  try {
    return evaluationView(await decode(bytes), plan);
  } catch (error) {
    throw new UserError('data', `${path} is no picture that can be read: ${messageOf(error)}.`);
  }
}

/** pictures of one size -> float32 [n, 3, H, W], normalised */
export function inputOf(pictures: readonly Picture[], device: Device): Tensor {
  const [{ width, height }] = pictures;
  return scope(() => {
    const bytes = new Uint8Array(pictures.length * width * height * 3);
    for (const [i, { data }] of pictures.entries()) bytes.set(data, i * width * height * 3);
    return normalise(toPlanes(tensor(bytes, { shape: [pictures.length, height, width, 3] }), device));
  });
}

/**
 * The picture mirrored, its colours jittered and then turned to grey, as the original makes its second view; the
 * draws follow from (seed, index). A place x of the picture lies at 1 - x in it.
 */
export function mirroredView({ data, width, height }: Picture, seed: number, index = 0): Picture {
  const random = new RandomStream().key(seed, 0, index, PURPOSE.crop);
  const draws = noChanges(1);
  for (let i = 0; i < 4; i++) draws.order[i] = i;
  random.shuffle(draws.order);
  draws.brightness[0] = random.uniform(0.6, 1.4);
  draws.contrast[0] = random.uniform(0.6, 1.4);
  draws.saturation[0] = random.uniform(0.8, 1.2);
  draws.hue[0] = random.uniform(-0.1, 0.1);
  draws.gray[0] = 1;
  const bytes = scope(() => {
    const pixels = toPlanes(tensor(data, { shape: [1, height, width, 3] })).flip([3]);
    return applyPhotometric(pixels, draws).permute([0, 2, 3, 1]).to({ dtype: 'uint8' }).contiguous().bytes();
  });
  return { width, height, data: new Uint8Array(bytes) };
}

/** (x, y) -> (1 - x, y) */
export const mirror = ([x, y]: readonly [number, number]): readonly [number, number] => [1 - x, y];
