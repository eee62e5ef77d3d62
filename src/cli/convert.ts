/** `esvit convert`: weights from one format, and from one world's names, to another. */

import { existsSync, realpathSync, statSync } from 'node:fs';
import { extname } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.js';
import { defineCommand } from './command.js';

const options = z.strictObject({
  input: z
    .string()
    .describe("File of weights (.pth, .safetensors, .npz), or a folder of Hugging Face's SwinModel"),
  output: z.string().describe('What to write: .pth, .safetensors, .npz, or a folder for Hugging Face'),
  names: z
    .enum(['official', 'timm', 'huggingface'])
    .optional()
    .describe('Whose names to use (default: huggingface for a folder, else official)'),
  part: z.enum(['backbone', 'all']).default('backbone').describe('The backbone alone, or its heads too'),
  checkpoint_key: z
    .string()
    .optional()
    .describe("Part of a training checkpoint: 'teacher' (default), 'student', 'state_dict', 'model'"),
  dtype: z
    .enum(['float32', 'float16', 'bfloat16', 'float64'])
    .optional()
    .describe('Precision of what is written (default: as it is)'),
  image_size: z
    .number()
    .int()
    .min(1)
    .default(224)
    .describe('Side of pictures, for the configuration in a folder of Hugging Face'),
});

export const convert = defineCommand({
  name: 'convert',
  summary: "Weights to another format or to another world's names",
  examples: [
    'esvit convert runs/first/checkpoint.pth backbone.safetensors',
    'esvit convert runs/first/checkpoint.pth swin --checkpoint_key teacher',
    'esvit convert checkpoint.pth timm.safetensors --names timm --dtype float16',
    'esvit convert swin swin.pth',
    'esvit convert checkpoint.pth student.pth --checkpoint_key student --part all',
  ],
  options,
  positionals: ['input', 'output'],
  async run(options, io) {
    const { input, output, part, checkpoint_key: checkpointKey } = options;
    const { writeTensors, tensorFormat } = await import('../weights/index.js');
    const models = await import('../models/index.js');
    const format = tensorFormat(output);
    const names = options.names ?? (format === undefined ? 'huggingface' : 'official');
    checkPaths(options, names, format !== undefined);
    if (part === 'all' && names !== 'official')
      throw new UserError(
        'usage',
        `--part all: names of ${names} know no heads of pre-training; use --part backbone.`,
      );

    const read = models.readForeignWeights(input, {
      part,
      ...(checkpointKey !== undefined && { checkpointKey }),
    });
    const official = models.compact(
      options.dtype === undefined ? read.state : models.toPrecision(read.state, options.dtype),
    );
    const written =
      names === 'huggingface'
        ? models.writeHuggingFaceFolder(output, official, { imageSize: options.image_size, source: input })
        : models.renameWeights(official, names, input);
    if (names !== 'huggingface') writeTensors(output, written, { format: 'pt' });
    const values = [...written.values()].reduce((sum, { numel }) => sum + numel, 0);
    const of = read.key === null ? '' : ` (${read.key})`;
    io.out(`${input}${of}: ${written.size} tensors of ${values.toLocaleString('en')} values -> ${output}`);
    if (read.naming !== names) io.out(`names: ${read.naming} -> ${names}`);
    if (read.dropped.length > 0)
      io.log(
        `left out: ${read.dropped.slice(0, 4).join(', ')}${read.dropped.length > 4 ? ` and ${read.dropped.length - 4} more` : ''}`,
      );
    return {
      output,
      key: read.key,
      tensors: written.size,
      values,
      from: read.naming,
      to: names,
      dropped: read.dropped,
    };
  },
});

/** Finds what cannot be written before anything is read. */
function checkPaths({ input, output }: z.output<typeof options>, names: string, isFile: boolean): void {
  if (!existsSync(input)) throw new UserError('usage', `There is no ${input}; check the path.`);
  if (existsSync(output) && realpathSync(output) === realpathSync(input))
    throw new UserError('usage', `${output} is what is read; give another name for what is written.`);
  if (names === 'huggingface' && (isFile || (existsSync(output) && !statSync(output).isDirectory())))
    throw new UserError('usage', `--names huggingface writes a folder; ${output} is a file's name.`);
  if (names !== 'huggingface' && !isFile)
    throw new UserError(
      'usage',
      `${extname(output) || 'A name without ending'} says no format; expected .pth, .safetensors or .npz for names of ${names}.`,
    );
}
