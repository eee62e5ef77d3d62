/** A labelled picture set, drawn by seed: DIR/train/<class>/*.png and DIR/val/<class>/*.png. */

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { didYouMean, UserError } from '../../errors.js';
import { diskError, writeFileAtomic } from '../../files.js';
import { OBJECT_CLASSES, type ObjectClass } from './objects.js';
import { renderScene } from './render.js';
import { describeScene } from './scene.js';
import { plainView } from './view.js';

export interface SampleDataOptions {
  /** The first so many classes, or their names. */
  classes: number | readonly string[];
  perClass: number;
  valPerClass: number;
  /** Side of the square pictures, in pixels. */
  size: number;
  seed: number;
  /** 0 (upright, centred, alone) to 1 (as varied as it gets). */
  variation: number;
  /** 0 (plain grounds, nothing else about) to 1 (every ground patterned, full clutter). */
  surroundings: number;
  /** Up to so many more objects of the class beside the first. */
  crowd: number;
  /** Share of pictures whose ground has a pattern that goes with the class, in any colours. */
  habitat: number;
}

export const SAMPLE_DATA_DEFAULTS: SampleDataOptions = {
  classes: OBJECT_CLASSES.length,
  perClass: 200,
  valPerClass: 50,
  size: 64,
  seed: 0,
  variation: 1,
  surroundings: 0.3,
  crowd: 0,
  habitat: 0,
};

export interface SampleDataResult {
  train: string;
  val: string;
  classes: ObjectClass[];
  trainPictures: number;
  valPictures: number;
  /** The folder already held exactly this set; nothing was drawn. */
  reused: boolean;
}

/** Names this set in its folder; `complete` turns true when the last picture is there. */
const MARKER = 'sample-data.json';

/**
 * Draws the set into `folder`, the same bytes for the same options. A folder that holds this very set is
 * left as it is, one that holds an unfinished one is drawn again; any other content is a UserError.
 * `progress` hears the pictures done so far and their total.
 */
export async function makeSampleData(
  folder: string,
  options: Partial<SampleDataOptions> = {},
  progress: (done: number, total: number) => void = () => {},
): Promise<SampleDataResult> {
  const settled = { ...SAMPLE_DATA_DEFAULTS, ...options };
  const classes = checkOptions(settled);
  const { perClass, valPerClass, size, seed, variation, surroundings, crowd, habitat } = settled;
  const result = {
    train: join(folder, 'train'),
    val: join(folder, 'val'),
    classes,
    trainPictures: classes.length * perClass,
    valPictures: classes.length * valPerClass,
  };
  const wanted = { classes, perClass, valPerClass, size, seed, variation, surroundings, crowd, habitat };
  if (heldIn(folder, wanted)) return { ...result, reused: true };

  const jobs = plan(classes, { train: perClass, val: valPerClass });
  const mark = (complete: boolean) =>
    writeFileAtomic(join(folder, MARKER), `${JSON.stringify({ ...wanted, complete }, null, 2)}\n`);
  try {
    for (const split of ['train', 'val'])
      for (const name of classes) mkdirSync(join(folder, split, name), { recursive: true });
  } catch (error) {
    throw diskError(folder, error);
  }
  mark(false);
  sharp.concurrency(1); // pictures this small go one to a thread
  sharp.cache(false);
  let next = 0;
  let done = 0;
  const lane = async (): Promise<void> => {
    while (next < jobs.length) {
      const { split, name, index } = jobs[next++];
      const key = `${seed}/${split}/${name}/${index}`;
      const picture = await renderScene(describeScene(name, key, variation, surroundings, crowd, habitat), {
        size,
        view: plainView(key, variation),
      });
      const raw = { width: picture.width, height: picture.height, channels: 3 as const };
      const png = await sharp(picture.data, { raw }).png({ compressionLevel: 6 }).toBuffer();
      const path = join(folder, split, name, `${name}-${String(index).padStart(5, '0')}.png`);
      try {
        writeFileSync(path, png);
      } catch (error) {
        throw diskError(path, error);
      }
      progress(++done, jobs.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(4, Math.max(2, cpus().length)) }, lane));
  mark(true);
  return { ...result, reused: false };
}

interface Job {
  split: 'train' | 'val';
  name: ObjectClass;
  index: number;
}

function plan(classes: readonly ObjectClass[], counts: Record<Job['split'], number>): Job[] {
  const jobs: Job[] = [];
  for (const split of ['train', 'val'] as const)
    for (const name of classes)
      for (let index = 0; index < counts[split]; index++) jobs.push({ split, name, index });
  return jobs;
}

function checkOptions(options: SampleDataOptions): ObjectClass[] {
  const whole = (name: string, value: number, low: number, high: number) => {
    if (!Number.isInteger(value) || value < low || value > high)
      throw new UserError('usage', `${name} must be a whole number from ${low} to ${high}, got ${value}.`);
  };
  whole('per_class', options.perClass, 1, 99_999);
  whole('val_per_class', options.valPerClass, 0, 99_999);
  whole('size', options.size, 16, 2048);
  if (!(Number.isInteger(options.crowd) && options.crowd >= 0 && options.crowd <= 99))
    throw new UserError('usage', `crowd must be a whole number of 0..99, got ${options.crowd}.`);
  for (const name of ['variation', 'surroundings'] as const)
    if (!(options[name] >= 0 && options[name] <= 1))
      throw new UserError('usage', `${name} must be between 0 and 1, got ${options[name]}.`);
  if (typeof options.classes === 'number') {
    whole('classes', options.classes, 2, OBJECT_CLASSES.length);
    return OBJECT_CLASSES.slice(0, options.classes);
  }
  const known: readonly string[] = OBJECT_CLASSES;
  for (const name of options.classes)
    if (!known.includes(name))
      throw new UserError(
        'usage',
        `no class '${name}' can be drawn; known are ${known.join(', ')}.${didYouMean(name, known)}`,
      );
  const chosen: readonly string[] = options.classes;
  const classes = OBJECT_CLASSES.filter((name) => chosen.includes(name));
  if (classes.length < 2)
    throw new UserError('usage', `at least two classes are needed, got ${classes.length}.`);
  return classes;
}

/** Whether `folder` holds the wanted set in full; false also where it may be drawn into. */
function heldIn(folder: string, wanted: object): boolean {
  if (!existsSync(folder)) return false;
  const path = join(folder, MARKER);
  if (!existsSync(path)) {
    if (readdirSync(folder).length === 0) return false;
    throw new UserError(
      'data',
      `${folder} is not empty and holds no sample data; give an empty or a new folder.`,
    );
  }
  let held: { complete?: unknown } & Record<string, unknown>;
  try {
    held = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new UserError('data', `${path} cannot be read as JSON; delete the folder or give another one.`, {
      cause,
    });
  }
  const { complete, ...options } = held;
  const differing = Object.entries(wanted).filter(
    ([key, value]) => JSON.stringify(options[key]) !== JSON.stringify(value),
  );
  if (differing.length > 0) {
    const [key, value] = differing[0];
    throw new UserError(
      'data',
      `${folder} holds sample data with ${key} ${JSON.stringify(options[key])}, not ${JSON.stringify(value)}; delete it or give another folder.`,
    );
  }
  return complete === true;
}
