/** Starts the processes of one machine, watches over them, and starts them anew when one fails. */

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { constants, hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../errors.js';
import { collectives } from './binding.js';
import { describeFailure, type Failure, readBeat } from './failure.js';
import { Store } from './store.js';

export interface LaunchOptions {
  nnodes: number;
  nprocPerNode: number;
  nodeRank: number;
  /** where the launcher of node 0 is; 127.0.0.1 for one machine */
  masterAddr: string;
  /** of the store that node 0's launcher keeps; 0 takes a free one (one machine only) */
  masterPort: number;
  maxRestarts: number;
  /** how long the ranks have to end by themselves after a failure or a signal */
  graceSeconds: number;
  /** how long the launchers of the machines wait for each other */
  timeoutSeconds: number;
  /** what the ranks other than 0 print goes to files here */
  logDir: string;
  /** the program and its arguments */
  command: readonly string[];
}

export interface LaunchEvents {
  /** what a person should know */
  note(line: string): void;
}

export interface LaunchResult {
  status: 'finished' | 'stopped' | 'failed';
  restarts: number;
  exitCode: number;
  /** the last one; undefined where rank 0 has already said what is wrong */
  failure?: Failure;
}

type NodeOutcome = 'finished' | 'stopped' | 'failed';

interface Generation {
  outcome: NodeOutcome;
  /** of the rank that ended first without success */
  exitCode: number;
  /** whether rank 0 ended by itself, and so has told a person why */
  hasSpoken: boolean;
}

/** A store that is longer silent is out of reach. */
const ANSWER_SECONDS = 10;

/** Exit codes of processes that were asked to end and did. */
const ASKED = new Set(
  [constants.signals.SIGINT, constants.signals.SIGTERM, constants.signals.SIGUSR1].map(
    (signal) => 128 + signal,
  ),
);

export class Launcher {
  private store: Store | undefined;
  private signal: NodeJS.Signals | undefined;
  /** another machine, or the store on it, is out of reach */
  private isCutOff = false;
  private readonly children = new Map<number, ChildProcess>();

  constructor(
    private readonly options: LaunchOptions,
    private readonly events: LaunchEvents,
  ) {}

  /** Passes a signal on; a second one ends everything at once. */
  interrupt(signal: NodeJS.Signals): void {
    if (this.signal !== undefined) {
      this.killAll();
      return;
    }
    this.signal = signal;
    for (const child of this.children.values()) child.kill('SIGTERM');
    const timer = setTimeout(() => this.killAll(), this.options.graceSeconds * 1000);
    timer.unref();
  }

  /** Runs to the end, whatever it takes; no child is left when it returns. */
  async run(): Promise<LaunchResult> {
    const { nnodes, maxRestarts } = this.options;
    // A question to a store that is out of reach would keep this process from ending.
    process.once('exit', (code) => collectives().exitNow(code));
    try {
      this.store = await this.openStore();
      for (let restart = 0; ; restart++) {
        const { outcome, exitCode, hasSpoken } = await this.generation(restart);
        const common = await this.agree(restart, outcome);
        const failure = common === 'failed' ? await this.failure(restart) : undefined;
        const mayRestart =
          common === 'failed' &&
          restart < maxRestarts &&
          exitCode !== 2 &&
          this.signal === undefined &&
          !this.isCutOff;
        if (!mayRestart) {
          await this.part(nnodes);
          const status = this.signal !== undefined && common !== 'failed' ? 'stopped' : common;
          return {
            status,
            restarts: restart,
            exitCode: this.exitCode(status, exitCode),
            ...(failure !== undefined && !hasSpoken && { failure }),
          };
        }
        this.events.note(
          `${failure === undefined ? 'A rank failed.' : sentence(describeFailure(failure))} Starting anew from the last checkpoint (${restart + 1} of ${maxRestarts}).`,
        );
      }
    } finally {
      this.killAll();
    }
  }

  private exitCode(status: NodeOutcome, code: number): number {
    if (status === 'finished') return 0;
    if (this.signal !== undefined) return 128 + constants.signals[this.signal];
    if (status === 'stopped') return 128 + constants.signals.SIGTERM;
    return code === 2 ? 2 : 1;
  }

  private async openStore(): Promise<Store> {
    const { nodeRank, masterAddr, masterPort, timeoutSeconds } = this.options;
    try {
      return nodeRank === 0
        ? await Store.serve('127.0.0.1', masterPort, timeoutSeconds * 1000)
        : await Store.connect(masterAddr, masterPort, timeoutSeconds * 1000);
    } catch (error) {
      throw new UserError(
        'environment',
        nodeRank === 0
          ? `port ${masterPort} cannot be taken on this machine; choose another --master_port.`
          : `the launcher of node 0 does not answer at ${masterAddr}:${masterPort} within ${timeoutSeconds} s. Is it running, ` +
              'are --master_addr and --master_port the same on all machines, and is the port open?',
        { cause: error },
      );
    }
  }

  /** One start of all ranks of this machine, until the last of them is gone. */
  private async generation(restart: number): Promise<Generation> {
    const { nprocPerNode, nodeRank, graceSeconds } = this.options;
    const first = nodeRank * nprocPerNode;
    let outcome: NodeOutcome = 'finished';
    let exitCode = 0;
    let hasSpoken = false;
    let killing = false;
    await Promise.all(
      Array.from({ length: nprocPerNode }, async (_, localRank) => {
        const rank = first + localRank;
        const { code, signal } = await this.child(rank, localRank, restart);
        if (code === 0) return;
        if (rank === 0 && signal === null) hasSpoken = true;
        const wasAsked = code !== null && ASKED.has(code);
        if (wasAsked && outcome === 'finished') outcome = 'stopped';
        if (wasAsked) return;
        if (outcome !== 'failed') exitCode = code ?? 1;
        outcome = 'failed';
        if (this.signal === undefined || signal === null) await this.report(rank, restart, code, signal);
        if (killing) return;
        killing = true;
        // The others notice by themselves, say who failed and end; those that cannot are ended.
        setTimeout(() => this.killAll(), graceSeconds * 1000).unref();
      }),
    );
    return { outcome, exitCode, hasSpoken };
  }

  private child(
    rank: number,
    localRank: number,
    restart: number,
  ): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    const { nnodes, nprocPerNode, nodeRank, masterAddr, command, logDir } = this.options;
    const log = rank === 0 ? undefined : openLog(logDir, rank, restart);
    const child = spawn(command[0], command.slice(1), {
      stdio: log === undefined ? ['ignore', 'inherit', 'inherit'] : ['ignore', log, log],
      // A terminal's Ctrl-C goes to the launcher alone, which passes it on once.
      detached: true,
      env: {
        ...process.env,
        RANK: String(rank),
        WORLD_SIZE: String(nnodes * nprocPerNode),
        LOCAL_RANK: String(localRank),
        LOCAL_WORLD_SIZE: String(nprocPerNode),
        GROUP_RANK: String(nodeRank),
        MASTER_ADDR: masterAddr,
        MASTER_PORT: String((this.store as Store).port),
        TORCHELASTIC_RESTART_COUNT: String(restart),
        ESVIT_LAUNCHER: String(process.pid),
      },
    });
    if (log !== undefined) closeSync(log);
    this.children.set(rank, child);
    if (this.signal !== undefined) child.kill('SIGTERM');
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        this.children.delete(rank);
        resolve({ code, signal });
      });
    });
  }

  /** Tells everybody what became of a rank; a report of its own came first and counts. */
  private async report(
    rank: number,
    restart: number,
    code: number | null,
    signal: NodeJS.Signals | null,
  ): Promise<void> {
    const store = this.store as Store;
    const failure: Failure = {
      rank,
      host: hostname(),
      step: readBeat(await this.quickly(store.get(`run${restart}/beat/${rank}`)))?.step ?? -1,
      reason: signal !== null ? `its process was ended by ${signal}` : `its process ended with code ${code}`,
    };
    await this.quickly(store.claim(`run${restart}/failed`, JSON.stringify(failure)));
  }

  private async failure(restart: number): Promise<Failure | undefined> {
    const text = await this.quickly((this.store as Store).get(`run${restart}/failed`));
    return text === undefined ? undefined : (JSON.parse(text) as Failure);
  }

  /** The outcome of all machines: one failure is everybody's. */
  private async agree(restart: number, own: NodeOutcome): Promise<NodeOutcome> {
    const { nnodes, nodeRank, graceSeconds } = this.options;
    if (nnodes === 1) return own;
    const store = this.store as Store;
    const outcomes = new Set<NodeOutcome>([own]);
    await this.quickly(store.set(`launch/${restart}/${nodeRank}`, own));
    // The ranks of the others may take as long to end as ours.
    const end = performance.now() + 2 * graceSeconds * 1000;
    for (let node = 0; node < nnodes && !this.isCutOff; node++) {
      const patience = Math.max(1000, end - performance.now());
      const key = `launch/${restart}/${node}`;
      const other = await this.quickly(store.wait(key, patience), patience / 1000 + ANSWER_SECONDS);
      if (other !== undefined) {
        outcomes.add(other as NodeOutcome);
        continue;
      }
      this.isCutOff = true;
      this.events.note(`The launcher of node ${node} does not answer any more.`);
    }
    if (this.isCutOff) outcomes.add('failed');
    return outcomes.has('failed') ? 'failed' : outcomes.has('stopped') ? 'stopped' : 'finished';
  }

  /** The launcher that keeps the store goes last. */
  private async part(nnodes: number): Promise<void> {
    if (nnodes === 1 || this.isCutOff) return;
    const { nodeRank, graceSeconds } = this.options;
    const store = this.store as Store;
    const gone = await this.quickly(store.add('launch/gone', 1));
    if (gone === nnodes) await this.quickly(store.set('launch/empty', ''));
    if (nodeRank === 0)
      await this.quickly(store.wait('launch/empty', graceSeconds * 1000), graceSeconds + ANSWER_SECONDS);
  }

  /** undefined where the store does not answer in time; then nobody asks it again. */
  private async quickly<T>(answer: Promise<T>, seconds = ANSWER_SECONDS): Promise<T | undefined> {
    if (this.isCutOff) {
      answer.catch(() => undefined);
      return undefined;
    }
    const late = Symbol('late');
    const result = await Promise.race([
      answer.catch(() => late),
      sleep(seconds * 1000, late, { ref: false }),
    ]);
    if (typeof result !== 'symbol') return result as T;
    this.isCutOff = true;
    return undefined;
  }

  private killAll(): void {
    for (const child of this.children.values()) child.kill('SIGKILL');
  }
}

const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

function openLog(folder: string, rank: number, restart: number): number {
  try {
    mkdirSync(folder, { recursive: true });
    return openSync(join(folder, `rank${rank}.log`), restart === 0 ? 'w' : 'a');
  } catch (error) {
    throw new UserError(
      'disk',
      `cannot write the ranks' logs to ${folder} (${(error as Error).message}); choose another --log_dir.`,
      { cause: error },
    );
  }
}
