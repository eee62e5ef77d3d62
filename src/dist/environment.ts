/** Which rank this process is: what the launchers of clusters say in the environment. */

import { UserError } from '../errors.js';
import { hostsOf } from './slurm.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** The place of a process in a run of several. */
export interface Placement {
  readonly rank: number;
  readonly worldSize: number;
  /** among the processes of this machine; also the number of its GPU */
  readonly localRank: number;
  /** processes on this machine, as far as it is known */
  readonly localWorldSize: number;
  readonly masterAddr: string;
  readonly masterPort: number;
  /** somebody else (a launcher) keeps the store at that address; else rank 0 does */
  readonly storeIsThere: boolean;
  /** times that the run was started anew before */
  readonly restart: number;
  /** the process id of `esvit launch`, if that started this process */
  readonly launcher?: number;
  /** who said so */
  readonly source: 'torchrun' | 'launch' | 'Open MPI' | 'SLURM';
}

/** Where SLURM's and Open MPI's runs meet, unless MASTER_PORT says it: a port that follows from the job's number. */
const FIRST_PORT = 20_000;
const PORTS = 10_000;

const EXPLICIT = ['RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'] as const;

/**
 * Reads the place from the environment, or undefined for a run of one process. torchrun, Kubeflow and `esvit launch`
 * set RANK and its like; then come Open MPI's and SLURM's own variables. Throws `UserError('environment')` naming
 * what is missing where only a part is set.
 */
export function readPlacement(env: Environment): Placement | undefined {
  const has = (name: string) => env[name] !== undefined && env[name] !== '';
  if (has('RANK') || has('WORLD_SIZE')) return explicit(env, has);
  if (has('OMPI_COMM_WORLD_RANK') || has('OMPI_COMM_WORLD_SIZE')) return openMpi(env, has);
  if (has('SLURM_PROCID') && (has('SLURM_STEP_NUM_TASKS') || has('SLURM_STEP_ID'))) return slurm(env, has);
  if (has('LOCAL_RANK') || has('MASTER_ADDR') || has('MASTER_PORT')) return explicit(env, has);
  return undefined;
}

/**
 * Whether a launcher or the queue has started this command before and now starts it anew: torchrun and `esvit launch`
 * count that, SLURM too. Also for a run of one process.
 */
export function isStartedAnew(env: Environment): boolean {
  const counts = [env.TORCHELASTIC_RESTART_COUNT, env.SLURM_RESTART_COUNT];
  return counts.some((count) => /^\s*\d+\s*$/.test(count ?? '') && Number(count) > 0);
}

function explicit(env: Environment, has: (name: string) => boolean): Placement | undefined {
  const alone = has('WORLD_SIZE') && whole(env, 'WORLD_SIZE', 1) === 1;
  const missing = EXPLICIT.filter((name) => !has(name) && !(alone && name.startsWith('MASTER_')));
  if (missing.length > 0) {
    const there = [...EXPLICIT, 'LOCAL_RANK'].filter(has);
    throw new UserError(
      'environment',
      `${there.join(', ')} ${there.length === 1 ? 'is' : 'are'} set in the environment, but ${missing.join(', ')} ` +
        `${missing.length === 1 ? 'is' : 'are'} not. A run of several processes needs ${EXPLICIT.join(', ')}; for one process unset them.`,
    );
  }
  const worldSize = whole(env, 'WORLD_SIZE', 1);
  const rank = whole(env, 'RANK', 0, worldSize - 1);
  if (worldSize === 1) return undefined;
  // Kubeflow's pods are one process each and say nothing of local ranks.
  const localWorldSize = has('LOCAL_WORLD_SIZE') ? whole(env, 'LOCAL_WORLD_SIZE', 1, worldSize) : 1;
  const isOurs = has('ESVIT_LAUNCHER');
  return {
    rank,
    worldSize,
    localRank: has('LOCAL_RANK') ? whole(env, 'LOCAL_RANK', 0, worldSize - 1) : 0,
    localWorldSize,
    masterAddr: env.MASTER_ADDR as string,
    masterPort: whole(env, 'MASTER_PORT', 1, 65_535),
    storeIsThere: isOurs || env.TORCHELASTIC_USE_AGENT_STORE === 'True',
    restart: has('TORCHELASTIC_RESTART_COUNT') ? whole(env, 'TORCHELASTIC_RESTART_COUNT', 0) : 0,
    ...(isOurs && { launcher: whole(env, 'ESVIT_LAUNCHER', 1) }),
    source: isOurs ? 'launch' : 'torchrun',
  };
}

function openMpi(env: Environment, has: (name: string) => boolean): Placement | undefined {
  need(has, 'Open MPI', ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK']);
  const worldSize = whole(env, 'OMPI_COMM_WORLD_SIZE', 1);
  if (worldSize === 1) return undefined;
  const localWorldSize = has('OMPI_COMM_WORLD_LOCAL_SIZE') ? whole(env, 'OMPI_COMM_WORLD_LOCAL_SIZE', 1) : 1;
  const isOneMachine = localWorldSize === worldSize;
  if (!isOneMachine && !has('MASTER_ADDR'))
    throw new UserError(
      'environment',
      'Open MPI started this run on several machines, and MASTER_ADDR is not set: no rank knows where rank 0 is. ' +
        'Give it to all, e.g. mpirun -x MASTER_ADDR=$(hostname) -x MASTER_PORT=29500 ...',
    );
  const job = env.PMIX_NAMESPACE ?? env.OMPI_MCA_ess_base_jobid ?? '';
  return {
    rank: whole(env, 'OMPI_COMM_WORLD_RANK', 0, worldSize - 1),
    worldSize,
    localRank: whole(env, 'OMPI_COMM_WORLD_LOCAL_RANK', 0, worldSize - 1),
    localWorldSize,
    masterAddr: has('MASTER_ADDR') ? (env.MASTER_ADDR as string) : '127.0.0.1',
    masterPort: has('MASTER_PORT') ? whole(env, 'MASTER_PORT', 1, 65_535) : portFor(job),
    storeIsThere: false,
    restart: 0,
    source: 'Open MPI',
  };
}

function slurm(env: Environment, has: (name: string) => boolean): Placement | undefined {
  const tasks = has('SLURM_STEP_NUM_TASKS') ? 'SLURM_STEP_NUM_TASKS' : 'SLURM_NTASKS';
  need(has, 'SLURM', ['SLURM_PROCID', tasks, 'SLURM_LOCALID']);
  const worldSize = whole(env, tasks, 1);
  if (worldSize === 1) return undefined;
  const nodes = env.SLURM_STEP_NODELIST ?? env.SLURM_JOB_NODELIST ?? env.SLURM_NODELIST;
  if (!has('MASTER_ADDR') && (nodes === undefined || nodes === ''))
    throw new UserError(
      'environment',
      'SLURM started this run, but SLURM_JOB_NODELIST is not set, so no rank knows where rank 0 is. Start it with srun, or set MASTER_ADDR.',
    );
  if (!has('MASTER_PORT') && !has('SLURM_JOB_ID'))
    throw new UserError(
      'environment',
      'SLURM started this run, but SLURM_JOB_ID is not set, from which the port follows. Start it with srun, or set MASTER_PORT.',
    );
  // Steps of one job may run side by side: each has a port of its own.
  const step = has('SLURM_STEP_ID') ? whole(env, 'SLURM_STEP_ID', 0) : 0;
  return {
    rank: whole(env, 'SLURM_PROCID', 0, worldSize - 1),
    worldSize,
    localRank: whole(env, 'SLURM_LOCALID', 0, worldSize - 1),
    localWorldSize: tasksOfNode(
      env.SLURM_STEP_TASKS_PER_NODE ?? env.SLURM_TASKS_PER_NODE,
      Number(env.SLURM_NODEID ?? 0),
    ),
    masterAddr: has('MASTER_ADDR') ? (env.MASTER_ADDR as string) : hostsOf(nodes as string)[0],
    masterPort: has('MASTER_PORT')
      ? whole(env, 'MASTER_PORT', 1, 65_535)
      : FIRST_PORT + ((whole(env, 'SLURM_JOB_ID', 0) * 13 + step) % PORTS),
    storeIsThere: false,
    restart: has('SLURM_RESTART_COUNT') ? whole(env, 'SLURM_RESTART_COUNT', 0) : 0,
    source: 'SLURM',
  };
}

/** `4(x2),3` says 4, 4, 3. */
function tasksOfNode(text: string | undefined, node: number): number {
  const counts = (text ?? '1').split(',').flatMap((part) => {
    const found = /^(\d+)(?:\(x(\d+)\))?$/.exec(part.trim());
    return found === null ? [] : new Array<number>(Number(found[2] ?? 1)).fill(Number(found[1]));
  });
  return counts[node] ?? counts[0] ?? 1;
}

function need(has: (name: string) => boolean, launcher: string, names: readonly string[]): void {
  const missing = names.filter((name) => !has(name));
  if (missing.length > 0)
    throw new UserError(
      'environment',
      `the environment is half that of ${launcher}: ${names.filter(has).join(', ')} ${missing.length < names.length - 1 ? 'are' : 'is'} set, ` +
        `but ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not.`,
    );
}

function whole(env: Environment, name: string, least: number, most = Number.MAX_SAFE_INTEGER): number {
  const text = (env[name] as string).trim();
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new UserError(
    'environment',
    `${name} is '${env[name]}' in the environment; expected a whole number of at least ${least}` +
      `${most === Number.MAX_SAFE_INTEGER ? '' : ` and at most ${most}`}.`,
  );
}

function portFor(job: string): number {
  let hash = 0;
  for (const letter of job) hash = (Math.imul(hash, 31) + letter.charCodeAt(0)) >>> 0;
  return FIRST_PORT + (hash % PORTS);
}
