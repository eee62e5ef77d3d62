/** A training among the other ranks of its run: what they must have in common, tell each other, and decide as one. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { DeepReadonly } from '../config/index.js';
import type { ImageSource } from '../data/index.js';
import {
  alone,
  type Collectives,
  GradientExchange,
  gatherValues,
  PeerError,
  sharedValue,
  sumValues,
  type World,
} from '../dist/index.js';
import { UserError } from '../errors.js';
import { rngState, torchInfo } from '../torch/index.js';
import type { Position } from './checkpoint.js';
import { findDrift } from './drift.js';
import { Pace } from './pace.js';
import type { ResolvedTrainConfig } from './resolved-config.js';
import { spreadState } from './spread.js';
import type { StepResult, StepState } from './step.js';

type Config = DeepReadonly<ResolvedTrainConfig>;

/** Settings that each machine may have of its own. */
const LOCAL = new Set([
  ...['data_path', 'output_dir', 'output', 'cfg', 'run', 'pretrained_weights', 'weights_base'],
  ...['dump_features', 'load_features', 'threads', 'num_workers', 'workers', 'local_rank'],
]);
/** Pictures whose names and labels are compared. */
const SAMPLES = 1000;

/** What the ranks told each other after a step. */
export interface Agreement {
  /** the rank that was asked to end, if one was */
  stopAskedOf?: number;
  /** rank 0 wants a checkpoint now */
  wantsSave: boolean;
}

export class Company {
  readonly collectives: Collectives;
  readonly pace: Pace;
  private exchange: GradientExchange | undefined;
  private step = 0;

  constructor(private readonly world: World | undefined) {
    this.collectives = world?.collectives ?? alone;
    this.pace = new Pace(this.collectives.worldSize);
  }

  get rank(): number {
    return this.collectives.rank;
  }

  get isFirst(): boolean {
    return this.rank === 0;
  }

  /** For the others, should this rank not come: how many steps are done, and what it is at. */
  say(steps: number, state: string): void {
    this.step = steps;
    this.world?.say(steps, state);
  }

  /** Ends the run where the ranks have not the same pictures or programs. */
  checkData(source: ImageSource): void {
    if (this.world === undefined) return;
    const digest = createHash('sha256');
    const count = Math.min(SAMPLES, source.length);
    for (let i = 0; i < count; i++) {
      const index = Math.floor((i * source.length) / count);
      digest.update(`${basename(source.key(index))}\t${source.label(index)}\n`);
    }
    this.compare({
      'the version of esvit': versionOfEsvit(),
      'the version of libtorch': torchInfo().version,
      'the number of pictures': source.length,
      'the number of classes': source.classes.length,
      'names and labels of the pictures': digest.digest('hex').slice(0, 12),
    });
  }

  /** Ends the run where the ranks were started with different settings. */
  checkConfig(config: object): void {
    if (this.world === undefined) return;
    this.compare(Object.fromEntries(Object.entries(config).filter(([name]) => !LOCAL.has(name))));
  }

  private compare(own: Readonly<Record<string, unknown>>): void {
    const all = gatherValues(this.collectives, own);
    for (const [rank, other] of all.entries())
      for (const [name, value] of Object.entries(all[0])) {
        const [first, here] = [JSON.stringify(value), JSON.stringify(other[name])];
        if (first === here) continue;
        this.blame(
          rank,
          `rank ${rank} has ${name} ${here}, rank 0 has ${first}. All ranks need the same data, command and versions.`,
          'config',
        );
      }
  }

  /** Ends the run by the fault of `rank`: that rank says it, the others wait to hear it. */
  blame(rank: number, message: string, kind: 'config' | 'training' = 'training'): never {
    if (rank === this.rank) throw new UserError(kind, message);
    throw new PeerError(message);
  }

  /** All ranks start from rank 0's state; from here on their gradients are averaged. */
  begin(state: StepState, position: Position, config: Config, tell: () => readonly number[]): Position {
    const { world, collectives } = this;
    if (world === undefined) return position;
    this.say(-1, 'receiving the weights of rank 0');
    const begun = spreadState(collectives, state, position, config.seed);
    this.checkWeights(state);
    this.exchange = new GradientExchange(
      world.gradients,
      state.student.parameters().filter(({ requiresGrad }) => requiresGrad),
      { wire: config.gradient_wire === 'bf16' ? 'bfloat16' : 'float32' },
    );
    state.ranks = { collectives, exchange: this.exchange, tell };
    return begun;
  }

  /** What is said by `tell`: whether this rank was asked to end, whether it wants to save. */
  tell(isAskedToStop: boolean, wantsSave: boolean, waitSeconds: number): readonly number[] {
    return [Number(isAskedToStop), Number(wantsSave), waitSeconds];
  }

  /** What all ranks make of what was told with a step. */
  agree({ ranks }: StepResult): Agreement {
    if (ranks === undefined) return { wantsSave: false };
    this.pace.add(ranks.map(({ seconds, told }) => ({ seconds, waitSeconds: told[2] })));
    if (this.exchange !== undefined) this.pace.exchanged(this.exchange.stats);
    const asked = ranks.findIndex(({ told }) => told[0] === 1);
    return { ...(asked >= 0 && { stopAskedOf: asked }), wantsSave: ranks[0].told[1] === 1 };
  }

  /**
   * The position with what each rank needs to go on as if nothing had happened; all ranks call it together. Weights
   * that have come apart are not saved.
   */
  savable(state: StepState, position: Position): Position {
    if (this.world === undefined) return position;
    this.say(this.step, 'saving');
    this.checkWeights(state);
    return { ...position, rankRng: this.collectives.allGather(rngState('cpu')) };
  }

  /** A sum over the ranks. */
  total(value: number): number {
    return sumValues(this.collectives, [value])[0];
  }

  /** Rank 0's answer counts. */
  decide(compute: () => boolean): boolean {
    return sharedValue(this.collectives, compute);
  }

  /** Ends the run where the weights of the ranks have come apart. */
  checkWeights({ student, teacher, loss }: StepState): void {
    if (this.world === undefined) return;
    const drift = findDrift(this.collectives, { student, teacher, loss });
    if (drift === undefined) return;
    const others =
      this.collectives.worldSize > 2 ? 'those of the other ranks' : `those of rank ${1 - drift.rank}`;
    this.blame(
      drift.rank,
      `its weights have come apart from ${others}, first in ${drift.tensor}, by ${drift.share.toPrecision(2)} of its length. ` +
        'Is the memory or the GPU of one of them faulty? The last checkpoint is from before.',
    );
  }

  close(): void {
    this.exchange?.close();
    this.exchange = undefined;
  }
}

function versionOfEsvit(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
