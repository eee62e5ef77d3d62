/** The labelled data that evaluations work on: a training and a val split with the same classes. */

import { z } from 'zod';
import type { ImageSource } from '../data/index.js';
import { UserError } from '../errors.js';
import type { Io } from './command.js';

/** Flags of every command that evaluates on labelled data. */
export const labelledOptions = {
  data_path: z.string().optional().describe('Labelled data with a training and a val split'),
  dataset: z.string().default('').describe('Name of the data set; decides the layout for some names'),
  zip_mode: z.boolean().default(false).describe('Read train.zip, val.zip and their maps in --data_path'),
  tsv_mode: z.boolean().default(false).describe('Read the TSV layout in --data_path'),
} as const;

const shape = z.strictObject(labelledOptions);

export interface LabelledData {
  train: ImageSource;
  val: ImageSource;
  close(): void;
}

/** Opens both splits; data without one class a picture is refused. */
export async function openLabelled(options: z.output<typeof shape>, io: Io): Promise<LabelledData> {
  const { layoutAsked, openImages } = await import('../data/index.js');
  const { data_path: path } = options;
  if (path === undefined) throw new UserError('usage', '--data_path is missing; give labelled data.');
  const layout = { layout: layoutAsked(options), note: (line: string) => io.log(line) };
  const train = await openImages(path, layout);
  try {
    if (train.labelKind === 'multiple')
      throw new UserError(
        'data',
        `the pictures in ${path} have several labels each, expected one: use data with one class a picture.`,
      );
    if (train.labelKind === 'none' || train.classes.length === 0)
      throw new UserError(
        'data',
        `the pictures in ${path} have no classes, so there is nothing to evaluate. Put them into one folder a class.`,
      );
    const val = await openImages(path, { ...layout, split: 'val', classes: train.classes });
    return {
      train,
      val,
      close: () => {
        train.close();
        val.close();
      },
    };
  } catch (error) {
    train.close();
    throw error;
  }
}
