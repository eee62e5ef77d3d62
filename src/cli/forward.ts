/** `esvit forward`: runs a network on stored tensors and stores what comes out, so that anyone can compare. */

import { z } from 'zod';
import { UserError } from '../errors.js';
import type { Backbone } from '../models/index.js';
import type { Tensor } from '../torch/index.js';
import { defineCommand } from './command.js';
import { networkOptions } from './network.js';

const options = z.strictObject({
  input: z
    .string()
    .describe(
      'Pictures: .safetensors, .npz, .npy or .pth with any number of tensors [N, 3, H, W], normalised',
    ),
  output: z.string().describe('What to write: .safetensors, .npz or .pth'),
  last: z
    .array(z.number().int().min(1))
    .default([])
    .describe('Also the pooled features of so many last blocks, side by side'),
  attention: z.boolean().default(false).describe('Also the attention of every block'),
  ...z.strictObject(networkOptions).omit({ workers: true }).shape,
});

export const forward = defineCommand({
  name: 'forward',
  summary: 'Run a network on stored tensors and store its features',
  examples: [
    'esvit forward --arch swin_tiny --weights checkpoint.pth --input in.safetensors --output out.safetensors',
    'esvit forward --run runs/first --input in.npz --output out.npz --last 1 4 --attention',
  ],
  options,
  aliases: { weights: 'pretrained_weights' },
  overrides: true,
  async run(options, io, { overrides }) {
    const { cpus } = await import('node:os');
    const { setThreads } = await import('../torch/index.js');
    const { tensorFormat, tensorsByPath, writeTensors } = await import('../weights/index.js');
    const { loadNetwork } = await import('./network.js');
    if (tensorFormat(options.output) === undefined)
      throw new UserError(
        'usage',
        `--output ${options.output}: expected a name ending in .safetensors, .npz or .pth.`,
      );
    const inputs = tensorsByPath(options.input);
    for (const [name, value] of inputs) checkPictures(name, value, options.input);
    if (inputs.size === 0) throw new UserError('data', `${options.input} holds no tensors.`);
    setThreads(options.threads ?? cpus().length);
    const { backbone, device, description } = await loadNetwork({ ...options, workers: 0 }, io, overrides);
    const blocks = backbone.depths.reduce((sum, depth) => sum + depth, 0);
    const most = Math.max(0, ...options.last);
    if (most > blocks)
      throw new UserError('usage', `--last ${most}: ${description} has ${blocks} blocks; ask for fewer.`);

    const outputs = new Map<string, Tensor>();
    const notes: Record<string, string> = { network: description };
    const total = [...inputs.values()].reduce((sum, { shape }) => sum + shape[0], 0);
    const bar = io.progress(total, { label: 'forward', unit: 'pictures' });
    let done = 0;
    try {
      for (const [name, pictures] of inputs) {
        const parts = new Map<string, Tensor[]>();
        for (let start = 0; start < pictures.shape[0]; start += options.batch_size) {
          const count = Math.min(options.batch_size, pictures.shape[0] - start);
          const batch = await featuresOf(backbone, pictures, { start, count, device, options });
          for (const [key, value] of batch.tensors) parts.set(key, [...(parts.get(key) ?? []), value]);
          for (const [key, note] of Object.entries(batch.notes)) notes[`${name}.${key}`] = note;
          done += count;
          bar.update(done);
        }
        for (const [key, values] of parts) outputs.set(`${name}.${key}`, await joined(values));
      }
    } finally {
      bar.stop();
    }
    writeTensors(options.output, outputs, notes);
    for (const [name, { shape }] of outputs) io.out(`${name}  [${shape.join(', ')}]`);
    return {
      output: options.output,
      network: description,
      tensors: Object.fromEntries([...outputs].map(([name, { dtype, shape }]) => [name, { dtype, shape }])),
    };
  },
});

function checkPictures(name: string, { dtype, shape }: Tensor, path: string): void {
  if (shape.length !== 4 || shape[1] !== 3 || shape.includes(0))
    throw new UserError(
      'data',
      `${name} in ${path} has shape [${shape.join(', ')}], expected pictures [N, 3, H, W].`,
    );
  if (!/^b?float/.test(dtype))
    throw new UserError(
      'data',
      `${name} in ${path} is ${dtype}, expected floats: divide by 255, subtract the mean and divide by the deviation first.`,
    );
}

interface Batch {
  start: number;
  count: number;
  device: string;
  options: Pick<z.output<typeof options>, 'last' | 'attention'>;
}

/** All that is asked for of some of the pictures, on the CPU. */
async function featuresOf(
  backbone: Backbone,
  pictures: Tensor,
  { start, count, device, options }: Batch,
): Promise<{ tensors: Map<string, Tensor>; notes: Record<string, string> }> {
  const { noGrad, scope } = await import('../torch/index.js');
  const notes: Record<string, string> = {};
  const tensors = scope(() =>
    noGrad(() => {
      const x = pictures.narrow(0, start, count).to({ device, dtype: 'float32' });
      const { pooled, tokens, grid } = backbone.forwardFeatures(x);
      const found = new Map([
        ['pooled', pooled],
        ['region', tokens],
      ]);
      notes.region = JSON.stringify({ grid });
      for (const last of options.last) found.set(`last${last}`, backbone.blockFeatures(x, last));
      for (const map of options.attention ? backbone.attentionMaps(x) : []) {
        const { block, stage, probabilities, grid: regions, windowSize, shift } = map;
        found.set(`attention.${block}`, probabilities);
        notes[`attention.${block}`] = JSON.stringify({ stage, grid: regions, windowSize, shift });
      }
      return new Map([...found].map(([key, value]) => [key, value.to({ device: 'cpu' }).contiguous()]));
    }),
  );
  return { tensors, notes };
}

async function joined(values: readonly Tensor[]): Promise<Tensor> {
  if (values.length === 1) return values[0];
  const { cat } = await import('../torch/index.js');
  return cat(values, 0);
}
