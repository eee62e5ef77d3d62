/** How fast the ranks of a run are, and which of them keeps the others waiting. */

import type { ExchangeStats } from '../dist/index.js';

/** Of one rank in one step. */
export interface RankTime {
  /** seconds from the step's beginning to the end of its backward, waiting for others left out */
  seconds: number;
  /** seconds since the start that it waited for data */
  waitSeconds: number;
}

export interface Straggler {
  rank: number;
  /** how much longer than the middle rank it takes, 0.5 is half as long again */
  excess: number;
}

/** Steps over which a rank's time is averaged. */
const WINDOW = 20;
/** A rank is a straggler from this excess on; less is noise. */
const LATE = 0.2;

export class Pace {
  private readonly times: number[][];
  private waits: number[];
  private last: ExchangeStats | undefined;

  constructor(worldSize: number) {
    this.times = Array.from({ length: worldSize }, () => []);
    this.waits = new Array(worldSize).fill(0);
  }

  /** The times of one step, by rank. */
  add(ranks: readonly RankTime[]): void {
    // Waiting for a batch is a rank's own time as well: who waits there keeps the others waiting.
    for (const [rank, { seconds, waitSeconds }] of ranks.entries()) {
      const times = this.times[rank];
      times.push(seconds + Math.max(0, waitSeconds - this.waits[rank]));
      if (times.length > WINDOW) times.shift();
    }
    this.waits = ranks.map(({ waitSeconds }) => waitSeconds);
  }

  exchanged(stats: ExchangeStats): void {
    this.last = stats;
  }

  /** Mean seconds of a step for each rank, waiting for others left out. */
  get seconds(): number[] {
    return this.times.map((times) => times.reduce((sum, time) => sum + time, 0) / Math.max(1, times.length));
  }

  /** The slowest rank, if it is much slower than the middle one. */
  get straggler(): Straggler | undefined {
    const { seconds } = this;
    if (seconds.length < 2) return undefined;
    const middle = [...seconds].sort((a, b) => a - b)[(seconds.length - 1) >> 1];
    const rank = seconds.indexOf(Math.max(...seconds));
    const excess = middle > 0 ? seconds[rank] / middle - 1 : 0;
    return excess > LATE ? { rank, excess } : undefined;
  }

  /** For metrics.jsonl; nothing for a run of one. `images`: pictures of a rank in a step. */
  metrics(images: number): Record<string, number> {
    const { seconds, last } = this;
    if (seconds.length < 2) return {};
    return {
      ...Object.fromEntries(
        seconds.map((time, rank) => [`images_per_second_rank${rank}`, images / Math.max(time, 1e-9)]),
      ),
      slowest_rank: seconds.indexOf(Math.max(...seconds)),
      ...(last !== undefined && {
        exchange_mb: last.bytes / 2 ** 20,
        exchange_seconds: last.busySeconds,
        exchange_wait_seconds: last.waitedSeconds,
      }),
    };
  }
}
