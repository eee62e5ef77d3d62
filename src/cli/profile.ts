/** `esvit profile`: how large, how costly and how fast networks are on this machine. */

import { spawn } from 'node:child_process';
import { basename, extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import type { BackboneRequest } from '../models/index.js';
import type { NetworkProfile } from '../profile/index.js';
import { defineCommand, type Io } from './command.js';

const positive = () => z.number().int().min(1);

const options = z.strictObject({
  networks: z
    .array(z.string())
    .optional()
    .describe('Names of architectures, or YAML files of experiments; several are compared'),
  arch: z.array(z.string()).optional().describe('Architectures, e.g. swin_tiny resnet50'),
  cfg: z.array(z.string()).optional().describe('YAML files of experiments'),
  patch_size: positive().default(16).describe('Side of a patch, for plain vision transformers only'),
  image_size: positive().default(224).describe('Side of the pictures'),
  batch_size: positive().default(8).describe('Pictures at a time'),
  rounds: positive().default(3).describe('Timed rounds, after one that is not; the middle one counts'),
  device: z.enum(['auto', 'cpu', 'cuda']).default('auto').describe('Where to compute'),
  threads: positive().optional().describe('Threads that compute (automatic: all cores)'),
  paper: z.boolean().default(false).describe('Also show the accuracies that the authors published'),
  figure: z.string().optional().describe('Write throughput against parameters to this .svg or .png file'),
  report: z.string().optional().describe('Write table and figure to this HTML file'),
});

type Options = z.output<typeof options>;

export const profile = defineCommand({
  name: 'profile',
  summary: 'Parameters, cost, memory and speed of networks on this machine',
  examples: [
    'esvit profile swin_tiny',
    'esvit profile swin_tiny cvt_tiny resnet50 --paper --figure speed.png --report speed.html',
    'esvit profile configs/cvt/s1.yaml --image_size 96 MODEL.SPEC.REL_POS_EMBED True',
  ],
  options,
  positionals: ['networks'],
  overrides: true,
  aliases: { batch_size_per_gpu: 'batch_size' },
  async run(options, io, { overrides }) {
    const networks = [...(options.networks ?? []), ...(options.arch ?? []), ...(options.cfg ?? [])];
    if (networks.length === 0 && !options.paper)
      throw new UserError(
        'usage',
        'Which networks? Name architectures or YAML files, e.g. esvit profile swin_tiny.',
      );
    checkFigure(options.figure);
    const { PROFILE_HEAD, PROFILE_NOTE, PUBLISHED_HEAD, PUBLISHED_SOURCE, ...report } = await import(
      '../profile/index.js'
    );
    const { cpus } = await import('node:os');
    const { torchInfo } = await import('../torch/index.js');
    const cuda = torchInfo().cudaDevices > 0;
    if (options.device === 'cuda' && !cuda)
      throw new UserError('environment', '--device cuda: no CUDA device can be used here; see esvit doctor.');
    const device = options.device === 'auto' ? (cuda ? 'cuda' : 'cpu') : options.device;
    const threads = options.threads ?? cpus().length;
    const machine =
      device === 'cuda' ? 'a GPU' : `${threads} threads of ${cpus()[0]?.model.trim() ?? 'a CPU'}`;
    // All are built once before anything is measured, so that a wrong name is found at once.
    const requests = await Promise.all(networks.map((network) => requestOf(network, options, overrides)));

    const profiles: NetworkProfile[] = [];
    for (const [i, network] of networks.entries()) {
      io.log(`${nameOf(network)} …`);
      profiles.push(
        networks.length === 1
          ? await measureHere(network, requests[i], { ...options, device, threads })
          : await measureApart(network, { ...options, device, threads }, overrides),
      );
    }
    if (profiles.length > 0) {
      io.out(`${options.image_size} pixels, batch ${options.batch_size}, ${machine}`);
      for (const line of table([PROFILE_HEAD, ...profiles.map(report.profileRow)])) io.out(line);
      io.out(PROFILE_NOTE);
    }
    if (options.paper) {
      for (const line of table([PUBLISHED_HEAD, ...report.publishedRows()])) io.out(line);
      io.out(`Published on ImageNet-1K, not measured here. Source: ${PUBLISHED_SOURCE}.`);
    }
    if (profiles.length > 0) await write(profiles, machine, options, io);
    return {
      machine,
      networks: profiles,
      ...(options.paper && { published: { source: PUBLISHED_SOURCE, results: report.PUBLISHED } }),
    };
  },
});

const isFile = (network: string) => ['.yaml', '.yml'].includes(extname(network));
const nameOf = (network: string) => (isFile(network) ? basename(network, extname(network)) : network);

async function requestOf(
  network: string,
  options: Options,
  overrides: readonly string[],
): Promise<BackboneRequest> {
  const { loadExperiment } = await import('../train/index.js');
  const { buildBackbone } = await import('../models/index.js');
  const { withoutInitialisation } = await import('../nn/index.js');
  const model = loadExperiment(isFile(network) ? network : undefined, overrides).value.MODEL;
  const arch = isFile(network) ? model?.NAME : network;
  if (arch === undefined)
    throw new UserError('config', `${network} names no network: MODEL.NAME is missing.`);
  const request = {
    arch,
    ...(model?.SPEC !== undefined && { spec: structuredClone(model.SPEC) as Record<string, unknown> }),
    patchSize: options.patch_size,
    imgSize: options.image_size,
  };
  withoutInitialisation(() => buildBackbone(request));
  return request;
}

type Machine = Options & { device: 'cpu' | 'cuda'; threads: number };

async function measureHere(
  network: string,
  request: BackboneRequest,
  options: Machine,
): Promise<NetworkProfile> {
  const { setThreads } = await import('../torch/index.js');
  const { profileNetwork } = await import('../profile/index.js');
  setThreads(options.threads);
  const { image_size: imageSize, batch_size: batchSize, rounds, device } = options;
  return profileNetwork(nameOf(network), request, { imageSize, batchSize, rounds, device });
}

/** In a process of its own: a peak of memory belongs to a process, and never falls. */
async function measureApart(
  network: string,
  options: Machine,
  overrides: readonly string[],
): Promise<NetworkProfile> {
  const main = fileURLToPath(new URL(`./main${extname(import.meta.url)}`, import.meta.url));
  const { patch_size, image_size, batch_size, rounds, device, threads } = options;
  const flags = Object.entries({ patch_size, image_size, batch_size, rounds, device, threads });
  const words = flags.flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(
    process.execPath,
    [...process.execArgv, main, 'profile', network, ...words, '--json', '--quiet', ...overrides],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0)
    throw new UserError('environment', `${network} could not be measured; its process ended with ${code}.`);
  return (JSON.parse(text) as { networks: NetworkProfile[] }).networks[0];
}

function checkFigure(path: string | undefined): void {
  if (path !== undefined && !['.svg', '.png'].includes(extname(path)))
    throw new UserError('usage', `--figure ${path}: expected a file that ends in .svg or .png.`);
}

async function write(profiles: NetworkProfile[], machine: string, options: Options, io: Io): Promise<void> {
  const { profileFigure, profilePage } = await import('../profile/index.js');
  const { figurePng } = await import('../draw/index.js');
  if (options.figure !== undefined) {
    const figure = profileFigure(profiles, machine, options.paper);
    writeFileAtomic(options.figure, options.figure.endsWith('.png') ? await figurePng(figure) : figure.svg);
    io.out(`Figure: ${options.figure}`);
  }
  if (options.report !== undefined) {
    writeFileAtomic(options.report, profilePage(profiles, machine, options.paper));
    io.out(`Report: ${options.report}`);
  }
}

/** Columns as wide as their widest cell; the first to the left, the others to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '),
  );
}
