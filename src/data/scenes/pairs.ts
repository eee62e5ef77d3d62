/** Pairs of views of drawn scenes with the true map between them: DIR/pairs.json and two pictures a pair. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import sharp from 'sharp';
import { z } from 'zod';
import { messageOf, UserError } from '../../errors.js';
import { diskError, writeFileAtomic } from '../../files.js';
import { type Affine, applyTo } from './affine.js';
import { OBJECT_CLASSES } from './objects.js';
import { renderScene } from './render.js';
import { describeScene } from './scene.js';
import { otherView, pixelMap, plainView } from './view.js';

const LIST = 'pairs.json';

const fileName = z.string().refine((name) => basename(name) === name && name !== '..' && name !== '.', {
  message: 'expected the name of a file beside pairs.json, without folders',
});

const pairSchema = z.strictObject({
  first: fileName,
  second: fileName,
  class: z.string(),
  /** x' = m0·x + m2·y + m4, y' = m1·x + m3·y + m5, in shares of the sides */
  map: z.tuple([z.number(), z.number(), z.number(), z.number(), z.number(), z.number()]),
});
const listSchema = z.strictObject({ format: z.literal(1), size: z.number(), pairs: z.array(pairSchema) });

export interface PairOptions {
  pairs: number;
  /** side of the square pictures in pixels */
  size: number;
  seed: number;
  variation: number;
}

/** Draws `pairs` scenes of all classes in turn; the same options give the same bytes. */
export async function makePairs(
  folder: string,
  { pairs, size, seed, variation }: PairOptions,
  progress: (done: number, total: number) => void = () => {},
): Promise<void> {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw diskError(folder, error);
  }
  const rows: z.output<typeof pairSchema>[] = [];
  for (let i = 0; i < pairs; i++) {
    const key = `${seed}/pair/${i}`;
    const objectClass = OBJECT_CLASSES[i % OBJECT_CLASSES.length];
    const scene = describeScene(objectClass, key, variation);
    const views = [plainView(key, variation), otherView(key, variation)] as const;
    const names = ['a', 'b'].map((side) => `${String(i).padStart(5, '0')}-${side}.png`);
    for (const [side, view] of views.entries()) {
      const { data, width, height } = await renderScene(scene, { size, view });
      const path = join(folder, names[side]);
      const png = await sharp(data, { raw: { width, height, channels: 3 } })
        .png()
        .toBuffer();
      try {
        writeFileSync(path, png);
      } catch (error) {
        throw diskError(path, error);
      }
    }
    rows.push({ first: names[0], second: names[1], class: objectClass, map: affineOf(...views) });
    progress(i + 1, pairs);
  }
  const list = { format: 1, size, pairs: rows };
  writeFileAtomic(join(folder, LIST), `${JSON.stringify(list, null, 1)}\n`);
}

function affineOf(from: ReturnType<typeof plainView>, to: ReturnType<typeof plainView>): [...Affine] {
  const map = pixelMap(from, to, 1);
  const [origin, right, down] = [map(0, 0), map(1, 0), map(0, 1)];
  return [right[0] - origin[0], right[1] - origin[1], down[0] - origin[0], down[1] - origin[1], ...origin];
}

export interface ScenePair {
  first: string;
  second: string;
  /** places as shares of the sides */
  map: (place: readonly [x: number, y: number]) => readonly [x: number, y: number];
}

/** The pairs of a folder that `makePairs` filled, with the paths of their pictures. */
export function readPairs(folder: string): ScenePair[] {
  const path = join(folder, LIST);
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new UserError(
      'data',
      `${path} cannot be read (${messageOf(error)}). Make pairs with \`esvit sample-data ${folder} --pairs 50\`.`,
    );
  }
  const parsed = listSchema.safeParse(content);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new UserError('data', `${path}: ${issue.path.join('.') || 'the list'}: ${issue.message}.`);
  }
  return parsed.data.pairs.map(({ first, second, map }) => ({
    first: join(folder, first),
    second: join(folder, second),
    map: ([x, y]) => applyTo(map, x, y),
  }));
}
