/** Producers in worker threads (or in this one) that work on the same batches together. */

import { Worker } from 'node:worker_threads';
import { UserError } from '../errors.js';
import { type Order, Producer, type ProducerOptions, type Report } from './producer.js';
import type { WorkerAnswer } from './worker.js';

export interface Pool {
  /** Resolves when every row of the batch is filled. Batches come in the order in which they were asked for. */
  produce(order: Order): Promise<Report[]>;
  close(): Promise<void>;
}

/** `workers` threads; 0: this thread. */
export function openPool(workers: number, options: ProducerOptions): Pool {
  return workers === 0 ? new LocalPool(options) : new ThreadPool(workers, options);
}

class LocalPool implements Pool {
  private readonly producer: Producer;
  private last: Promise<unknown> = Promise.resolve();

  constructor(options: ProducerOptions) {
    this.producer = new Producer(options);
  }

  produce(order: Order): Promise<Report[]> {
    const result = this.last.then(async () => [await this.producer.produce(order)]);
    this.last = result.catch(() => undefined);
    return result;
  }

  async close(): Promise<void> {
    await this.last;
    this.producer.close();
  }
}

interface Pending {
  reports: Report[];
  resolve(reports: Report[]): void;
  reject(error: Error): void;
}

/**
 * Every worker gets every order and takes rows of it until none is left, so no row waits for a slow worker
 * while another is idle, and nothing has to be dealt out while the main thread computes.
 */
class ThreadPool implements Pool {
  private readonly workers: Worker[];
  private readonly pending = new Map<number, Pending>();
  private broken: Error | undefined;
  private closing = false;

  constructor(count: number, options: ProducerOptions) {
    this.workers = Array.from({ length: count }, (_, number) => {
      const worker = new Worker(...workerEntry(options, number));
      worker.on('message', (answer: WorkerAnswer) => this.onAnswer(answer));
      worker.on('error', (error) =>
        this.fail(number, error instanceof Error ? error.message : String(error)),
      );
      worker.on('exit', (code) => {
        if (!this.closing) this.fail(number, `it ended with code ${code}`);
      });
      worker.unref(); // an idle pool does not keep the process alive
      return worker;
    });
  }

  produce(order: Order): Promise<Report[]> {
    if (this.broken) return Promise.reject(this.broken);
    if (this.pending.size === 0) for (const worker of this.workers) worker.ref();
    return new Promise((resolve, reject) => {
      this.pending.set(order.slot, { reports: [], resolve, reject });
      for (const worker of this.workers) worker.postMessage(order);
    });
  }

  async close(): Promise<void> {
    this.closing = true;
    await Promise.all(this.workers.map(end));
    this.rejectAll(new Error('internal: the loader was closed while a batch was awaited'));
  }

  private onAnswer(answer: WorkerAnswer): void {
    if ('failure' in answer) {
      const error = answer.isUserError ? new UserError('data', answer.failure) : new Error(answer.failure);
      error.stack = answer.stack;
      this.broken = error;
      this.rejectAll(error);
      return;
    }
    const { report } = answer;
    const batch = this.pending.get(report.slot);
    if (batch === undefined) return;
    batch.reports.push(report);
    if (batch.reports.length < this.workers.length) return;
    this.pending.delete(report.slot);
    if (this.pending.size === 0) for (const worker of this.workers) worker.unref();
    batch.resolve(batch.reports);
  }

  private fail(number: number, reason: string): void {
    this.broken ??= new Error(`data worker ${number + 1} of ${this.workers.length} died: ${reason}`);
    this.rejectAll(this.broken);
  }

  private rejectAll(error: Error): void {
    for (const batch of this.pending.values()) batch.reject(error);
    this.pending.clear();
    for (const worker of this.workers) worker.unref();
  }
}

const PATIENCE_MS = 10_000;

/** A thread that is stopped in the middle of decoding can take the process with it, so it may finish first. */
async function end(worker: Worker): Promise<void> {
  if (worker.threadId === -1) return; // it has ended already
  worker.ref();
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  worker.postMessage('end');
  const timer = setTimeout(() => void worker.terminate(), PATIENCE_MS);
  await exited;
  clearTimeout(timer);
}

/** Workers do not inherit what makes this thread read TypeScript; built files need nothing. */
function workerEntry(options: ProducerOptions, number: number): ConstructorParameters<typeof Worker> {
  const isSource = import.meta.url.endsWith('.ts');
  const entry = new URL(isSource ? './worker-from-source.mjs' : './worker.js', import.meta.url);
  return [entry, { workerData: options, name: `esvit-data-${number + 1}`, execArgv: [] }];
}
