/** `esvit inspect`: what is in a file of weights: names, shapes, dtypes, sizes, sharing, settings. */

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.js';
import type { Tensor } from '../torch/index.js';
import type { InspectedTensor, Inspection } from '../weights/index.js';
import { defineCommand, type Io } from './command.js';

const options = z.strictObject({
  file: z
    .string()
    .describe("File of weights (.pth, .safetensors, .npz, .npy), or a folder of Hugging Face's"),
  checkpoint_key: z
    .string()
    .optional()
    .describe("Show only a part of a checkpoint: 'teacher', 'optimizer', 'args'"),
  stats: z.boolean().default(false).describe('Read the weights too: minimum, maximum, mean, deviation'),
});

interface Stats {
  min: number | null;
  max: number | null;
  mean: number | null;
  std: number | null;
  /** elements that are infinite or not numbers; the other figures leave them out */
  nonFinite: number;
}

/** Parts that people rarely mean; their tensors are counted, not listed, unless asked for. */
const COUNTED: readonly string[] = ['optimizer'];

export const inspect = defineCommand({
  name: 'inspect',
  summary: 'What is in a file of weights: names, shapes, sizes, settings',
  examples: [
    'esvit inspect runs/first/checkpoint.pth',
    'esvit inspect runs/first/checkpoint.pth --checkpoint_key teacher --stats',
    'esvit inspect backbone.safetensors --json',
  ],
  options,
  positionals: ['file'],
  async run({ file, checkpoint_key: key, stats: wanted }, io) {
    const { inspectFile, tensorsByPath } = await import('../weights/index.js');
    const path = existsSync(file) && statSync(file).isDirectory() ? join(file, 'model.safetensors') : file;
    const whole = inspectFile(path);
    const isWanted = (at: string) => key === undefined || at === key || at.startsWith(`${key}/`);
    const tensors = whole.tensors.filter(({ path: at }) => isWanted(at));
    const values = whole.values.filter(({ path: at }) => isWanted(at));
    if (tensors.length + values.length === 0)
      throw new UserError(
        'usage',
        `${file} has no '${key}'; it has ${partsOf(whole).join(', ') || 'nothing'}.`,
      );
    const stats = new Map<string, Stats>();
    if (wanted) {
      const read = tensorsByPath(path);
      for (const { path: at } of tensors) stats.set(at, statsOf(read.get(at) as Tensor));
    }
    print({ ...whole, tensors, values }, path, key, stats, io);
    return {
      file: path,
      format: whole.format,
      size: whole.size,
      tensors: tensors.map((tensor) => ({ ...tensor, ...stats.get(tensor.path) })),
      values,
    };
  },
});

function partsOf({ tensors, values }: Inspection): string[] {
  return [...new Set([...tensors, ...values].map(({ path }) => path.split('/')[0]))].slice(0, 12);
}

function statsOf(tensor: Tensor): Stats {
  // complex numbers have no order; their sizes have
  const plain = tensor.dtype.startsWith('complex') ? tensor.abs() : tensor;
  const all = plain.to({ dtype: 'float64' }).toArray() as Float64Array;
  let [min, max, sum, count] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0];
  for (const value of all) {
    if (!Number.isFinite(value)) continue;
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    count++;
  }
  if (count === 0) return { min: null, max: null, mean: null, std: null, nonFinite: all.length };
  const mean = sum / count;
  let squares = 0;
  for (const value of all) if (Number.isFinite(value)) squares += (value - mean) ** 2;
  return { min, max, mean, std: Math.sqrt(squares / count), nonFinite: all.length - count };
}

function print(
  { format, size, tensors, values }: Inspection,
  path: string,
  key: string | undefined,
  stats: ReadonlyMap<string, Stats>,
  io: Io,
): void {
  const memory = new Map(tensors.map(({ storage }) => [storage.key, storage.bytes]));
  const held = [...memory.values()].reduce((sum, bytes) => sum + bytes, 0);
  io.out(`${path}: ${format}, ${bytesText(size)}; ${tensors.length} tensors in ${bytesText(held)}`);
  for (const part of COUNTED) {
    const counted = tensors.filter(({ path: at }) => part !== key && at.startsWith(`${part}/`));
    if (counted.length === 0) continue;
    const bytes = counted.reduce((sum, tensor) => sum + tensor.bytes, 0);
    io.out(`${part}: ${counted.length} tensors, ${bytesText(bytes)} (--checkpoint_key ${part} lists them)`);
  }
  const isListed = (at: string) => key !== undefined || !COUNTED.some((part) => at.startsWith(`${part}/`));
  const rows = tensors
    .filter(({ path: at }) => isListed(at))
    .map((tensor) => cells(tensor, stats.get(tensor.path)));
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column].length)));
  for (const row of rows)
    io.out(
      row
        .map((cell, i) => (i === 3 ? cell.padStart(widths[i]) : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    );
  const settings = values.filter(({ path: at }) => isListed(at));
  const width = Math.min(48, Math.max(0, ...settings.map(({ path: at }) => at.length)));
  for (const { path: at, value } of settings) io.out(`${at.padEnd(width)}  ${shortened(String(value))}`);
}

function cells(
  { path, dtype, shape, bytes, sharesWith }: InspectedTensor,
  stats: Stats | undefined,
): string[] {
  const notes = [
    ...(sharesWith === null ? [] : [`shares memory with ${sharesWith}`]),
    ...(stats === undefined ? [] : [statsText(stats)]),
  ];
  return [path, dtype, `[${shape.join(', ')}]`, bytesText(bytes), notes.join('; ')];
}

function statsText({ min, max, mean, std, nonFinite }: Stats): string {
  const figures = Object.entries({ min, max, mean, std }).map(
    ([name, value]) => `${name} ${value === null ? '-' : value.toPrecision(4)}`,
  );
  return [...figures, ...(nonFinite > 0 ? [`${nonFinite} not finite`] : [])].join(' ');
}

function shortened(text: string): string {
  const line = text.replaceAll('\n', ' ');
  return line.length > 160 ? `${line.slice(0, 157)}...` : line;
}

function bytesText(bytes: number): string {
  for (const [unit, size] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const)
    if (bytes >= size) return `${(bytes / size).toFixed(1)} ${unit}`;
  return `${bytes} B`;
}
