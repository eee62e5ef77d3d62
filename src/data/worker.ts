/** The body of a worker thread of the loader: one producer that works off orders in turn. */

import { parentPort, workerData } from 'node:worker_threads';
import { UserError } from '../errors.js';
import { type Order, Producer, type ProducerOptions, type Report } from './producer.js';

export type WorkerAnswer = { report: Report } | { failure: string; isUserError: boolean; stack: string };

if (parentPort === null) throw new Error('internal: worker.ts runs in worker threads only');
const port = parentPort;
const producer = new Producer(workerData as ProducerOptions);
let last: Promise<void> = Promise.resolve();

port.on('message', (order: Order | 'end') => {
  last = last.then(async () => {
    if (order === 'end') {
      producer.close();
      port.close(); // nothing is left to wait for, so the thread ends
      return;
    }
    let answer: WorkerAnswer;
    try {
      answer = { report: await producer.produce(order) };
    } catch (error) {
      const { message, stack = '' } = error instanceof Error ? error : new Error(String(error));
      answer = { failure: message, isUserError: error instanceof UserError, stack };
    }
    port.postMessage(answer);
  });
});
