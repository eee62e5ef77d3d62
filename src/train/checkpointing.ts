/** When the state of a run is saved, and what stays of what was saved. */

import type { DeepReadonly } from '../config/index.js';
import { UserError } from '../errors.js';
import type { RunFolder } from '../run/index.js';
import { type Position, saveCheckpoint } from './checkpoint.js';
import type { ResolvedTrainConfig } from './resolved-config.js';
import type { StepState } from './step.js';

type Config = DeepReadonly<ResolvedTrainConfig>;

/** Ends of epochs that follow each other faster than this, in milliseconds, share a checkpoint. */
const SHORT_EPOCH = 10_000;
/** Pause before a save that failed is tried again, in milliseconds. */
const RETRY = 60_000;

/** What of an epoch decides whether its state stays. */
export interface EpochEnd {
  /** counted from 0 */
  epoch: number;
  /** accuracy of the first k that was measured, where one was */
  knn?: number;
}

export class Checkpointing {
  private savedAt = performance.now();
  private savedStep = -1;
  private retryAt = Number.POSITIVE_INFINITY;
  private bestKnn: number;

  constructor(
    private readonly config: Config,
    private readonly folder: RunFolder,
    private readonly state: StepState,
    private readonly note: (line: string) => void,
  ) {
    this.bestKnn = bestKnnSoFar(folder);
  }

  /** The clock starts anew, e.g. when the first step begins. */
  restart(): void {
    this.savedAt = performance.now();
  }

  /** Whether a state inside an epoch is due, by iterations or by minutes. `done` counts steps of the whole run. */
  isDue(done: number): boolean {
    const { checkpoint_every_iterations: iterations, checkpoint_every_minutes: minutes } = this.config;
    const now = performance.now();
    return (
      (iterations > 0 && done % iterations === 0) ||
      (minutes > 0 && now - this.savedAt > minutes * 60_000) ||
      now > this.retryAt
    );
  }

  /** Saves; a disk that is full is no reason to end a run: it is said, and tried again a minute later. */
  trySave(position: Position, done: number): boolean {
    try {
      this.save(position, done);
      return true;
    } catch (error) {
      if (!(error instanceof UserError) || error.kind !== 'disk') throw error;
      this.savedAt = performance.now();
      this.retryAt = this.savedAt + RETRY;
      this.note(`No checkpoint: ${error.message} The run goes on; the checkpoint before is still there.`);
      return false;
    }
  }

  /** Saves, or throws. `done` counts steps of the whole run. */
  save(position: Position, done: number): void {
    const { config, folder, state } = this;
    folder.checkClaim();
    folder.flush(); // first, so that no checkpoint is ahead of the logs
    folder.checkpoints.replace(
      (path) => saveCheckpoint(path, state, position, config),
      config.keep_checkpoints,
    );
    this.savedAt = performance.now();
    this.savedStep = done;
    this.retryAt = Number.POSITIVE_INFINITY;
  }

  /** After an epoch: its checkpoint, and the names under which it stays. */
  endEpoch(position: Position, done: number, { epoch, knn }: EpochEnd): void {
    const { config, folder } = this;
    const { saveckp_freq: every } = config;
    const isKept = every > 0 && epoch % every === 0;
    const isBest = knn !== undefined && knn > this.bestKnn;
    const isLast = epoch + 1 === config.epochs;
    const isLong = performance.now() - this.savedAt > SHORT_EPOCH;
    if (!isKept && !isBest && !isLast && !isLong && !this.isDue(done)) return;
    if (isLast) this.save(position, done);
    else if (!this.trySave(position, done)) return;
    if (isKept) folder.checkpoints.keepNewestAs(folder.checkpoints.kept(epoch));
    if (!isBest) return;
    folder.checkpoints.keepNewestAs(folder.checkpoints.best);
    this.bestKnn = knn;
  }

  /** Whether the newest file holds the state after `done` steps. */
  has(done: number): boolean {
    return this.savedStep === done;
  }
}

/** The best k-NN accuracy in log.txt; what is written there belongs to the state that a run goes on from. */
function bestKnnSoFar(folder: RunFolder): number {
  const values = folder.logEntries().flatMap((entry) => {
    const first = Object.keys(entry).find((name) => /^knn\d+_top1$/.test(name));
    return first === undefined ? [] : [Number(entry[first])];
  });
  return Math.max(Number.NEGATIVE_INFINITY, ...values);
}
