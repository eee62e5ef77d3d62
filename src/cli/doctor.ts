/** `esvit doctor`: what this machine gives to training, and what would be better. */

import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { basename, dirname } from 'node:path';
import { z } from 'zod';
import { messageOf, UserError } from '../errors.js';
import type { TorchDescription } from '../torch/index.js';
import { defineCommand } from './command.js';

export type Status = 'ok' | 'note' | 'warning' | 'broken';

/** One thing that was looked at. */
export interface Finding {
  readonly name: string;
  readonly status: Status;
  readonly text: string;
  /** What to do about a warning or a failure. */
  readonly cure?: string;
  /** The same for programs. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

/** What set-up leaves in `.cache/setup.json`. */
export interface SetupRecord {
  readonly node?: string;
  readonly libtorch?: {
    readonly source: string;
    readonly why: string;
    readonly version: string;
    readonly lib: string;
    readonly cuda: boolean;
  };
}

/** Rates of square matrix products, in GFLOP/s on all threads. */
export interface Rates {
  readonly threads: number;
  readonly float32: number;
  readonly bfloat16: number;
}

const OLDEST_NODE = 20;
/** A core with a real BLAS gives 40 and more; the reference BLAS 1 to 3. */
const SLOW_GFLOPS_PER_CORE = 15;
const LITTLE_MEMORY = 4 * 2 ** 30;
const LITTLE_DISK = 2 * 2 ** 30;
const SETUP = 'Run `npm run setup` in the folder of esvit.';

const setupRecord = new URL('../../.cache/setup.json', import.meta.url);

export const doctor = defineCommand({
  name: 'doctor',
  summary: 'Show what this machine offers, and what is wrong or slow',
  examples: ['esvit doctor', 'esvit doctor --json'],
  options: z.strictObject({}),
  async run(_options, io) {
    const findings = [nodeFinding(process.versions.node), ...(await engineFindings())];
    findings.push(memoryFinding(totalmem(), freemem(), process.constrainedMemory?.()));
    findings.push(diskFinding(process.cwd()), await imageFinding());

    const width = Math.max(...findings.map(({ name }) => name.length));
    for (const { name, status, text } of findings) io.out(`${MARKS[status]} ${name.padEnd(width)}  ${text}`);
    for (const { status, name, cure } of findings)
      if (status === 'warning') io.warn(`${name}: ${cure ?? 'see above'}`);

    const broken = findings.filter(({ status }) => status === 'broken');
    if (broken.length > 0 && !io.json)
      throw new UserError(
        'environment',
        `${broken.length === 1 ? 'something is' : `${broken.length} things are`} broken here:\n${broken
          .map(({ name, text, cure }) => `  ${name}: ${text}${cure === undefined ? '' : ` ${cure}`}`)
          .join('\n')}`,
      );
    // As a result, not as an error: programs want the findings all the more when something is broken.
    if (broken.length > 0) io.fail();
    return { ok: broken.length === 0, findings };
  },
});

const MARKS: Record<Status, string> = {
  ok: 'ok      ',
  note: '        ',
  warning: 'WARNING ',
  broken: 'BROKEN  ',
};

export function nodeFinding(version: string): Finding {
  const name = 'Node';
  if (Number.parseInt(version, 10) >= OLDEST_NODE)
    return { name, status: 'ok', text: version, facts: { version } };
  return {
    name,
    status: 'broken',
    text: `${version} is too old; esvit needs ${OLDEST_NODE} or newer.`,
    cure: 'Install a current one from https://nodejs.org.',
    facts: { version },
  };
}

/** All that takes the addon; where it cannot be loaded, that is the one finding. */
async function engineFindings(): Promise<Finding[]> {
  const record = readRecord();
  let torch: typeof import('../torch/index.js');
  try {
    torch = await import('../torch/index.js');
  } catch (error) {
    return [libtorchFinding(record, undefined), { name: 'addon', status: 'broken', text: messageOf(error) }];
  }
  const info = torch.torchInfo();
  const flags = cpuFlags();
  const rates = measure(torch);
  return [
    libtorchFinding(record, info, loadedFile(/libtorch_cpu\.so/)),
    { name: 'addon', status: 'ok', text: torch.addonPath, facts: { path: torch.addonPath } },
    deviceFinding(info, existsSync('/dev/nvidiactl')),
    threadsFinding(info, rates.threads),
    capabilityFinding(info),
    blasFinding(info, loadedBlas(), rates),
    bfloat16Finding(flags, rates),
    {
      name: 'oneDNN',
      status: info.onednn ? 'ok' : 'note',
      text: oneDnnVersion(info),
      facts: { onednn: info.onednn },
    },
    collectivesFinding(info),
  ];
}

function readRecord(): SetupRecord | undefined {
  try {
    return JSON.parse(readFileSync(setupRecord, 'utf8')) as SetupRecord;
  } catch {
    return undefined; // the finding says so
  }
}

export function libtorchFinding(
  record: SetupRecord | undefined,
  info: TorchDescription | undefined,
  loaded?: string,
): Finding {
  const name = 'libtorch';
  const chosen = record?.libtorch;
  if (chosen === undefined)
    return {
      name,
      status: info === undefined ? 'broken' : 'note',
      text: `${info?.version ?? 'unknown'}${loaded === undefined ? '' : ` in ${dirname(loaded)}`}; set-up has not recorded a choice.`,
      cure: SETUP,
      facts: { version: info?.version, folder: loaded && dirname(loaded) },
    };
  const { version, lib, why, cuda, source } = chosen;
  const facts = { version: info?.version ?? version, folder: lib, source, why, cuda };
  const text = `${version} (${cuda ? 'CUDA' : 'CPU'}) in ${lib}: ${why}`;
  if (!existsSync(lib)) return { name, status: 'broken', text: `${lib} is gone.`, cure: SETUP, facts };
  if (info !== undefined && info.version !== version)
    return {
      name,
      status: 'warning',
      text: `${text}; but the addon was built for ${info.version}`,
      cure: `the addon does not fit the libtorch that was chosen. ${SETUP}`,
      facts,
    };
  return { name, status: 'ok', text, facts };
}

export function deviceFinding(info: TorchDescription, hasNvidia: boolean): Finding {
  const name = 'devices';
  const model = cpus()[0]?.model.trim() ?? 'unknown';
  const cores = availableParallelism();
  const cpu = `CPU (${model}, ${cores} ${cores === 1 ? 'core' : 'cores'})`;
  const facts = { cpu: model, cores, cuda: info.cudaDevices, cudnn: info.cudnn };
  if (info.cudaDevices > 0)
    return {
      name,
      status: 'ok',
      text: `${cpu}, CUDA ${info.cudaDevices}${info.cudnn ? ' with cuDNN' : ', without cuDNN'}`,
      facts,
    };
  if (!hasNvidia) return { name, status: 'ok', text: `${cpu}; no CUDA`, facts };
  return {
    name,
    status: 'warning',
    text: `${cpu}; an NVIDIA GPU is here, but this libtorch does not use it`,
    cure: 'install a libtorch with CUDA (pip install torch) and let set-up find it: npm run setup -- --find',
    facts,
  };
}

function threadsFinding(info: TorchDescription, threads: number): Finding {
  const backend = /ATen parallel backend: (\S+)/.exec(info.parallel)?.[1] ?? 'unknown';
  const limits = ['OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'].filter(
    (key) => process.env[key],
  );
  const set = limits.map((key) => `, ${key}=${process.env[key]}`).join('');
  return {
    name: 'threads',
    status: 'ok',
    text: `${threads} inside an operator (${backend}${set})`,
    facts: { threads, backend },
  };
}

function capabilityFinding(info: TorchDescription): Finding {
  const capability = /CPU capability usage: (.+)/.exec(info.config)?.[1].trim() ?? 'unknown';
  return { name: 'CPU kernels', status: 'ok', text: capability, facts: { capability } };
}

/** The first shared library in this process whose file name fits. */
function loadedFile(pattern: RegExp): string | undefined {
  let maps = '';
  try {
    maps = readFileSync('/proc/self/maps', 'utf8');
  } catch {
    return undefined;
  }
  return maps.match(/\/\S+\.so[.\d]*$/gm)?.find((file) => pattern.test(basename(file)));
}

const FAST_BLAS = /openblas|atlas|mkl|blis|nvpl|armpl/;

/** The matrix library that is in this process now: its file, or undefined if it is a part of libtorch. */
function loadedBlas(): string | undefined {
  // libblas.so first: another one may be here for LAPACK only. The folder of a libblas.so tells whose it is.
  return loadedFile(/^libblas\.so/) ?? loadedFile(FAST_BLAS);
}

export function blasFinding(info: TorchDescription, library: string | undefined, rates: Rates): Finding {
  const own = info.mkl ? 'MKL, inside libtorch' : 'inside libtorch';
  const perCore = rates.float32 / rates.threads;
  const text = `${library ?? own}: ${rates.float32.toFixed(0)} GFLOP/s in fp32 on ${rates.threads} threads`;
  const facts = { library, mkl: info.mkl, gflops: rates.float32, threads: rates.threads };
  if (perCore >= SLOW_GFLOPS_PER_CORE) return { name: 'BLAS', status: 'ok', text, facts };
  const isReference = library !== undefined && !FAST_BLAS.test(library);
  return {
    name: 'BLAS',
    status: 'warning',
    text: `${text}, which is slow`,
    cure: isReference
      ? 'this is the reference BLAS, tens of times slower than need be; install OpenBLAS: apt-get install libopenblas0-openmp'
      : 'matrix products are slow; is the machine busy, or are OMP_NUM_THREADS or a CPU limit in the way?',
    facts,
  };
}

const BFLOAT16_FLAGS = ['avx512_bf16', 'amx_bf16', 'bf16'];

function cpuFlags(): ReadonlySet<string> {
  try {
    const text = readFileSync('/proc/cpuinfo', 'utf8');
    return new Set(/^(?:flags|Features)\s*:\s*(.*)$/m.exec(text)?.[1].split(/\s+/));
  } catch {
    return new Set();
  }
}

export function bfloat16Finding(flags: ReadonlySet<string>, rates: Rates): Finding {
  const native = BFLOAT16_FLAGS.filter((flag) => flags.has(flag));
  const ratio = rates.bfloat16 / rates.float32;
  const measured = `${rates.bfloat16.toFixed(0)} GFLOP/s, ${ratio.toFixed(1)} x fp32`;
  const cpu = native.length > 0 ? `the CPU has ${native.join(', ')}` : 'emulated: the CPU has no bf16';
  return {
    name: 'bf16',
    status: ratio > 1.2 ? 'ok' : 'note',
    text: `${measured} (${cpu})${ratio > 1.2 ? '' : '; fp32 is the better choice on this CPU'}`,
    facts: { gflops: rates.bfloat16, native },
  };
}

function oneDnnVersion(info: TorchDescription): string {
  if (!info.onednn) return 'no';
  return /MKL-DNN (v[\d.]+)/.exec(info.config)?.[1] ?? 'yes';
}

export function collectivesFinding(info: Pick<TorchDescription, 'gloo' | 'nccl' | 'cudaDevices'>): Finding {
  const { gloo, nccl, cudaDevices } = info;
  const name = 'collectives';
  const facts = { gloo, nccl };
  const see = 'runs of several processes, see esvit launch';
  const noNccl = 'no nccl: .cache/build.log names the header that is missing';
  if (gloo && (nccl || cudaDevices === 0))
    return { name, status: 'ok', text: `gloo${nccl ? ', nccl' : ''}: ${see}`, facts };
  if (gloo) return { name, status: 'note', text: `gloo: ${see}; ${noNccl}`, facts };
  if (nccl)
    return {
      name,
      status: 'ok',
      text: `nccl: ${see}, with a GPU each; no gloo: this libtorch came without its headers`,
      facts,
    };
  return {
    name,
    status: 'note',
    text: `none, so a run is one process; ${
      cudaDevices > 0
        ? `no gloo: this libtorch came without its headers; ${noNccl}`
        : 'libgloo-dev and `npm run setup` bring them (Debian, Ubuntu)'
    }`,
    facts,
  };
}

/** Two products of 1024 x 1024 to warm up, then the best of some, for a quarter of a second each. */
function measure(torch: typeof import('../torch/index.js')): Rates {
  const size = 1024;
  const threads = availableParallelism();
  const before = torch.getThreads();
  torch.setThreads(threads);
  const rate = (dtype: 'float32' | 'bfloat16') =>
    torch.noGrad(() =>
      torch.scope(() => {
        const a = torch.randn([size, size]).to({ dtype });
        let best = Number.POSITIVE_INFINITY;
        const end = performance.now() + 250;
        for (let i = 0; i < 3 || performance.now() < end; i++) {
          const started = performance.now();
          torch.scope(() => void a.matmul(a));
          const seconds = (performance.now() - started) / 1000;
          if (i > 0) best = Math.min(best, seconds);
        }
        return (2 * size ** 3) / best / 1e9;
      }),
    );
  try {
    return { threads, float32: rate('float32'), bfloat16: rate('bfloat16') };
  } finally {
    torch.setThreads(before);
  }
}

const gibibytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

export function memoryFinding(total: number, free: number, limit: number | undefined): Finding {
  // Without a limit the kernel reports an absurdly large one, or 0.
  const usable = limit !== undefined && limit > 0 && limit < total ? limit : total;
  const text = `${gibibytes(usable)}${usable < total ? ` (limit; the machine has ${gibibytes(total)})` : ''}, ${gibibytes(free)} free`;
  const facts = { total, usable, free };
  if (usable >= LITTLE_MEMORY) return { name: 'memory', status: 'ok', text, facts };
  return {
    name: 'memory',
    status: 'warning',
    text,
    cure: 'this is little for training; take a small model and a small batch.',
    facts,
  };
}

export function diskFinding(folder: string): Finding {
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const text = `${gibibytes(free)} free in ${folder}`;
  if (free >= LITTLE_DISK) return { name: 'disk', status: 'ok', text, facts: { folder, free } };
  return {
    name: 'disk',
    status: 'warning',
    text,
    cure: 'checkpoints may not fit; put runs elsewhere or free some space.',
    facts: { folder, free },
  };
}

async function imageFinding(): Promise<Finding> {
  try {
    const { default: sharp } = await import('sharp');
    const { sharp: version, vips } = sharp.versions;
    return {
      name: 'images',
      status: 'ok',
      text: `sharp ${version} with libvips ${vips}`,
      facts: { sharp: version, vips },
    };
  } catch (error) {
    return {
      name: 'images',
      status: 'broken',
      text: `sharp cannot be loaded (${messageOf(error).split('\n')[0]}).`,
      cure: 'Run `npm ci` in the folder of esvit.',
    };
  }
}
