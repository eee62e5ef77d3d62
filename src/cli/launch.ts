/** `esvit launch`: one run of several processes, on one machine or on many. */

import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.js';
import { defineCommand } from './command.js';

const count = (least: number) => z.number().int().min(least);

export const launch = defineCommand({
  name: 'launch',
  summary: 'Run a command in several processes, on one machine or many',
  examples: [
    'esvit launch --nproc_per_node 2 -- train --data_path pictures --output_dir runs/both',
    'esvit launch --nnodes 2 --node_rank 0 --master_addr 10.0.0.1 --nproc_per_node 8 -- train --data_path imagenet/train',
    'esvit launch --nproc_per_node 8 -- eval-linear --run runs/first --data_path imagenet',
  ],
  options: z.strictObject({
    nnodes: count(1).default(1).describe('Machines; the same command runs on each, with its own --node_rank'),
    nproc_per_node: count(1)
      .optional()
      .describe('Processes on each machine (automatic: one for each GPU, else one)'),
    node_rank: count(0).optional().describe('Number of this machine, from 0'),
    master_addr: z.string().optional().describe('Address of machine 0, as the others reach it'),
    master_port: z
      .number()
      .int()
      .min(0)
      .max(65_535)
      .optional()
      .describe('Port there (automatic: a free one on a single machine, else 29500)'),
    max_restarts: count(0).default(0).describe('Start anew from the last checkpoint after so many failures'),
    grace_seconds: z
      .number()
      .positive()
      .default(30)
      .describe('Time to end in good order after a signal or a failure'),
    timeout_seconds: z.number().positive().default(600).describe('How long the machines wait for each other'),
    log_dir: z
      .string()
      .optional()
      .describe(
        'Where ranks other than 0 write what they say (automatic: logs in --output_dir of the command)',
      ),
    command: z.array(z.string()).default([]).describe('After --: the esvit command and its flags'),
  }),
  positionals: ['command'],
  aliases: { num_nodes: 'nnodes', num_gpus_per_node: 'nproc_per_node' },
  async run(options, io) {
    const { command, nnodes } = options;
    if (command.length === 0)
      throw new UserError(
        'usage',
        'What is to run? Give the command after --, e.g. esvit launch --nproc_per_node 2 -- train --data_path pictures.',
      );
    if (['launch', 'demo', 'doctor'].includes(command[0]))
      throw new UserError(
        'usage',
        `esvit ${command[0]} is no command for several processes; train, eval-knn, eval-linear and embed are.`,
      );
    const { hasCollectives, Launcher, RunFailure } = await import('../dist/index.js');
    const { torchInfo } = await import('../torch/index.js');
    const nodeRank = options.node_rank ?? nodeRankOf(process.env, nnodes);
    const place = meetingPlace(options, nodeRank, process.env);
    const nprocPerNode = options.nproc_per_node ?? Math.max(1, torchInfo().cudaDevices);
    if (nnodes * nprocPerNode > 1 && !hasCollectives('cuda'))
      throw new UserError(
        'environment',
        'this libtorch has no collectives, so a run is one process; see esvit doctor.',
      );
    const launcher = new Launcher(
      {
        nnodes,
        nprocPerNode,
        nodeRank,
        ...place,
        maxRestarts: options.max_restarts,
        graceSeconds: options.grace_seconds,
        timeoutSeconds: options.timeout_seconds,
        logDir: options.log_dir ?? logDirOf(command),
        command: [process.execPath, ...process.execArgv, process.argv[1], ...command],
      },
      { note: (line) => io.warn(line) },
    );
    const release = io.onInterrupt((signal) => launcher.interrupt(signal));
    try {
      const result = await launcher.run();
      // Where rank 0 ended by itself it has said why.
      if (result.failure !== undefined) throw new RunFailure(result.failure);
      if (result.exitCode !== 0) io.fail(result.exitCode);
      return result;
    } finally {
      release();
    }
  },
});

/** Open MPI and SLURM start one launcher on each machine and say which it is. */
function nodeRankOf(env: NodeJS.ProcessEnv, nnodes: number): number {
  if (nnodes === 1) return 0;
  const said = env.OMPI_COMM_WORLD_RANK ?? env.SLURM_NODEID ?? env.GROUP_RANK;
  if (said !== undefined && /^\d+$/.test(said)) return Number(said);
  throw new UserError(
    'usage',
    `--node_rank is missing: give each of the ${nnodes} machines its number, 0 to ${nnodes - 1}.`,
  );
}

function meetingPlace(
  options: { nnodes: number; master_addr?: string | undefined; master_port?: number | undefined },
  nodeRank: number,
  env: NodeJS.ProcessEnv,
): { masterAddr: string; masterPort: number } {
  const { nnodes } = options;
  if (nodeRank >= nnodes)
    throw new UserError(
      'usage',
      `--node_rank ${nodeRank} is too large for --nnodes ${nnodes}; they count from 0.`,
    );
  const addr = options.master_addr ?? (nnodes === 1 ? undefined : env.MASTER_ADDR);
  const port =
    options.master_port ?? (nnodes === 1 || !env.MASTER_PORT ? undefined : Number(env.MASTER_PORT));
  if (nnodes === 1) return { masterAddr: addr ?? '127.0.0.1', masterPort: port ?? 0 };
  if (addr === undefined || addr === '')
    throw new UserError(
      'usage',
      '--master_addr is missing: give the address of machine 0, the same on all machines.',
    );
  if (port === 0)
    throw new UserError(
      'usage',
      '--master_port 0 works on one machine only; give the same port on all machines.',
    );
  return { masterAddr: addr, masterPort: port ?? 29_500 };
}

/** Beside the run, if the command says where that is. */
function logDirOf(command: readonly string[]): string {
  const at = command.findIndex((word) => /^--output[_-]dir$/.test(word));
  const joined = command.find((word) => /^--output[_-]dir=/.test(word));
  const folder = at >= 0 ? command[at + 1] : joined?.slice(joined.indexOf('=') + 1);
  return join(folder ?? 'runs', 'logs');
}
