/** `esvit sample-data`: a labelled picture set to try everything on, drawn by seed. */

import { z } from 'zod';
import { makePairs, makeSampleData, OBJECT_CLASSES, SAMPLE_DATA_DEFAULTS } from '../data/scenes/index.js';
import { UserError } from '../errors.js';
import { defineCommand } from './command.js';

const count = (low: number, high: number) => z.number().int().min(low).max(high);
const defaults = SAMPLE_DATA_DEFAULTS;

export const sampleData = defineCommand({
  name: 'sample-data',
  summary: 'Draw a labelled picture set of simple objects, by seed',
  examples: [
    'esvit sample-data pictures',
    'esvit sample-data pictures --per_class 500 --val_per_class 100 --size 96 --seed 7',
    'esvit sample-data pictures --classes fish,boat,key --variation 1',
    'esvit sample-data scenes --pairs 50 --size 224',
  ],
  positionals: ['output'],
  options: z.strictObject({
    output: z.string().describe('Folder for train/<class>/*.png and val/<class>/*.png'),
    classes: z
      .string()
      .default(String(defaults.classes))
      .describe(`How many classes, or names parted by commas, of ${OBJECT_CLASSES.join(', ')}`),
    per_class: count(1, 99_999).default(defaults.perClass).describe('Training pictures of each class'),
    val_per_class: count(0, 99_999).default(defaults.valPerClass).describe('Held-out pictures of each class'),
    size: count(16, 2048).default(defaults.size).describe('Side of the square pictures, in pixels'),
    seed: z.number().int().default(defaults.seed).describe('The same seed draws the same bytes'),
    variation: z
      .number()
      .min(0)
      .max(1)
      .default(defaults.variation)
      .describe('How far pose, light and clutter go: 0 upright and alone, 1 as wild as it gets'),
    surroundings: z
      .number()
      .min(0)
      .max(1)
      .default(defaults.surroundings)
      .describe('How busy it is about the object: 0 plain grounds, 1 patterns and clutter everywhere'),
    crowd: count(0, 99)
      .default(defaults.crowd)
      .describe('Up to so many more objects of the class in a picture'),
    habitat: z
      .number()
      .min(0)
      .max(1)
      .default(defaults.habitat)
      .describe('Share of pictures whose ground has a pattern that goes with the class, in any colours'),
    pairs: count(1, 99_999)
      .optional()
      .describe('Draw so many pairs of views with the true map between them instead of a picture set'),
  }),
  async run(options, io) {
    const started = performance.now();
    const { output, classes, per_class: perClass, val_per_class: valPerClass, pairs, ...drawing } = options;
    const { size, seed, variation } = drawing;
    let bar: ReturnType<typeof io.progress> | undefined;
    const advance = (done: number, all: number) => {
      bar ??= io.progress(all, {
        label: 'drawing',
        unit: pairs === undefined ? 'pictures' : 'pairs',
      });
      bar.update(done);
    };
    try {
      if (pairs !== undefined) {
        await makePairs(output, { pairs, size, seed, variation }, advance);
        io.out(`Drew ${pairs} pairs of views into ${output}; pairs.json holds the maps between them.`);
        return { output, pairs, size, seed, variation };
      }
      const result = await makeSampleData(
        output,
        { classes: parseClasses(classes), perClass, valPerClass, ...drawing },
        advance,
      );
      const seconds = (performance.now() - started) / 1000;
      const { train, val, trainPictures, valPictures, reused } = result;
      io.out(
        reused
          ? `${output} already holds this set: ${trainPictures} training and ${valPictures} held-out pictures.`
          : `Drew ${trainPictures} training pictures into ${train} and ${valPictures} held-out ones into ${val} in ${seconds.toFixed(1)} s.`,
      );
      return { ...result, ...drawing, seconds };
    } finally {
      bar?.stop();
    }
  },
});

function parseClasses(text: string): number | string[] {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  if (names.length === 0)
    throw new UserError('usage', 'classes is empty; give a number or names parted by commas.');
  return names.length === 1 && /^\d+$/.test(names[0]) ? Number(names[0]) : names;
}
