/** What a training tells those who watch it, and what it comes to. */

import type { KnnResult } from '../eval/index.js';
import type { LogEntry } from '../run/index.js';
import type { Diagnosis, Health } from '../ssl/index.js';
import type { Straggler } from './pace.js';

/** One step, for those who watch. */
export interface StepReport {
  /** steps done, this one included, and those of the whole run */
  done: number;
  total: number;
  epoch: number;
  loss: number;
  lr: number;
  /** pictures seen in this step, by all processes */
  images: number;
  /** share of the time since the start that was spent waiting for data */
  dataWait: number;
  /** resident memory in bytes */
  memory: number;
  /** a rank that keeps the others waiting */
  straggler?: Straggler;
}

export interface PretrainEvents {
  /** before the first step; `resumedAt` counts the steps of an earlier start */
  onStart?(info: { total: number; resumedAt: number; parameters: number; outDim: number }): void;
  onStep?(report: StepReport): void;
  onHealth?(health: Health, diagnosis: Diagnosis, report: StepReport): void;
  onEpoch?(entry: LogEntry): void;
  onNote?(line: string): void;
  /** asked after every step; a text is the reason to save and end */
  stopReason?(): string | undefined;
}

export interface PretrainResult {
  /** 'stopped': ended early in good order; the same command goes on */
  status: 'finished' | 'stopped';
  steps: number;
  /** mean loss of the last epoch, or of what was done of it */
  loss: number;
  /** pictures a second, over the steps of this start */
  imagesPerSecond: number;
  badImages: number;
  reason?: string;
  /** ended since another process of the run was asked to */
  askedElsewhere?: boolean;
  knn?: KnnResult[];
  diagnosis?: Diagnosis;
}
