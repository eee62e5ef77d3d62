/** Shows a training as it goes, and passes on the wish to end it. */

import type { PretrainEvents } from '../train/index.js';
import type { Io, Progress } from './command.js';

/** Shows a run as it goes, and passes on the wish to end it. */
export class TrainingWatch {
  private bar: Progress | undefined;
  private signal: string | undefined;
  private verdict = '';
  private images = 0;
  private since = performance.now();
  /** ln(out_dim), the loss of no opinion */
  private most = 0;

  constructor(private readonly io: Io) {}

  interrupt(signal: string): void {
    this.signal = signal;
    this.io.log('Saving, then ending; once more ends at once.');
  }

  stop(): void {
    this.bar?.stop();
  }

  readonly events: PretrainEvents = {
    onStart: ({ total, resumedAt, parameters, outDim }) => {
      this.most = Math.log(outDim);
      this.since = performance.now();
      this.io.log(`Backbone of ${(parameters / 1e6).toFixed(1)} M parameters; ${total} iterations.`);
      this.bar = this.io.progress(total, { label: 'training', unit: 'iterations', start: resumedAt });
    },
    onStep: ({ done, epoch, loss, lr, images, dataWait, memory, straggler }) => {
      this.images += images;
      const seconds = (performance.now() - this.since) / 1000;
      this.bar?.update(done, {
        epoch,
        loss: `${loss.toFixed(3)} of ln ${this.most.toFixed(2)}`,
        lr: lr.toExponential(1),
        'images/s': (this.images / seconds).toFixed(1),
        waiting: `${(100 * dataWait).toFixed(0)}%`,
        memory: `${(memory / 1e9).toFixed(1)} GB`,
        ...(straggler && { late: `rank ${straggler.rank} by ${(100 * straggler.excess).toFixed(0)}%` }),
        ...(this.verdict !== '' && { health: this.verdict }),
      });
    },
    onHealth: (health, { verdict, hint }, { done }) => {
      if (verdict !== this.verdict && verdict !== 'healthy' && hint !== '')
        this.io.warn(
          `Iteration ${done}: ${verdict} (teacher entropy ${health.teacherEntropy.toFixed(2)}, feature rank ${health.effectiveRank.toFixed(0)}); ${hint}.`,
        );
      this.verdict = verdict;
    },
    onEpoch: (entry) => {
      const knn = Object.entries(entry).filter(([name]) => name.startsWith('knn'));
      if (knn.length === 0) return;
      this.io.log(
        `Epoch ${entry.epoch}: ${knn.map(([name, value]) => `${name} ${Number(value).toFixed(2)}%`).join(', ')}`,
      );
    },
    onNote: (line) => this.io.warn(line),
    stopReason: () => (this.signal === undefined ? undefined : `${this.signal} came`),
  };
}
