/** What the ranks of tests do. */

import {
  type Collectives,
  GradientExchange,
  gatherRows,
  gatherValues,
  type ProcessGroup,
  sharedValue,
  type World,
} from '../../src/dist/index.js';
import {
  backward,
  type DType,
  manualSeed,
  randn,
  scope,
  type Tensor,
  tensor,
} from '../../src/torch/index.js';

import { type TrainingSettings, trainTogether } from './equal-training.js';
import { classifyTogether, describeTogether, type LinearTask, probeTogether } from './evaluation-tasks.js';
import { teacherKnn } from './teacher-knn.js';

export interface Context {
  collectives: Collectives;
  gradients: Collectives;
  world?: World;
}

export const tasks: Record<string, (context: Context, argument: never) => Promise<unknown> | unknown> = {
  trainings: (context: Context, list: TrainingSettings[]) =>
    list.map((settings) => trainTogether(context, settings)),

  async evaluations(
    { collectives }: Context,
    { pictures, linear }: { pictures: string; linear: LinearTask[] },
  ) {
    const results = [];
    for (const task of linear) results.push(await probeTogether(collectives, task));
    return {
      tables: await describeTogether(collectives, pictures),
      votes: [700, 40].map((queries) => classifyTogether(collectives, queries)),
      linear: results,
    };
  },

  teacherKnn,

  /** Every collective once, on values that tell the ranks apart. */
  async collectives({ collectives }: Context) {
    const { rank, worldSize } = collectives;
    const group = collectives as ProcessGroup;
    const row = (...values: number[]) => tensor(values);
    const sum = row(rank + 1, 10);
    collectives.allReduceSum(sum);
    const max = row(rank, -rank);
    group.startAllReduce(max, 'max').wait();
    const from1 = row(rank, rank);
    collectives.broadcast(from1, 1);
    const halves = tensor([rank + 0.5, 2], { dtype: 'bfloat16' });
    const scattered = collectives.reduceScatter(
      tensor(Array.from({ length: worldSize }, (_, to) => [10 * rank + to, 1])),
    );
    const pending = group.startAllReduce(row(rank));
    const gathering = group.startAllGather(tensor(BigInt64Array.of(BigInt(rank) << 40n)));
    await Promise.all([pending.done(), gathering.work.done(), group.startBarrier().done()]);
    collectives.barrier();
    return {
      sum: [...sum.toArray()],
      max: [...max.toArray()],
      from1: [...from1.toArray()],
      halves: [...collectives.allGather(halves).toArray()],
      scattered: [...scattered.toArray()],
      wide: Array.from(gathering.output.toArray(), String),
      isDone: pending.isDone,
      values: gatherValues(collectives, { rank, text: 'ä'.repeat(rank) }),
      shared: sharedValue(collectives, () => `of rank ${rank}`),
      rows: [
        ...gatherRows(
          collectives,
          tensor(new Array(2 * rank).fill([rank, 1]), { shape: [2 * rank, 2] }),
        ).toArray(),
      ],
      empty: gatherRows(collectives, tensor(new Float32Array(0), { shape: [0, 3] })).shape,
    };
  },

  /** Gradients of a loss over this rank's part of the rows; `batches` backwards a step. */
  gradients(
    { collectives, gradients }: Context,
    {
      wire,
      bucketBytes,
      batches,
      steps,
    }: { wire: DType; bucketBytes: number; batches: number; steps: number },
  ) {
    const { rank, worldSize } = collectives;
    manualSeed(1);
    const weights = [randn([7, 5]), randn([5]), randn([5, 3]), randn([4])].map((w) => {
      w.requiresGrad = true;
      return w.keep();
    });
    const [first, bias, second, unused] = weights;
    const inputs = randn([steps, batches, 2, 6, 7]).keep(); // [steps, batches, halves, rows, 7]
    const exchange =
      worldSize === 1
        ? undefined
        : new GradientExchange(gradients, weights, {
            wire: wire as 'float32',
            bucketBytes,
            firstBucketBytes: bucketBytes,
          });
    const found: number[][][] = [];
    const sent: number[] = [];
    for (let step = 0; step < steps; step++) {
      for (let batch = 0; batch < batches; batch++)
        scope(() => {
          if (batch === batches - 1) exchange?.arm();
          const rows = inputs.select(0, step).select(0, batch);
          const own = worldSize === 1 ? rows.reshape([12, 7]) : rows.select(0, rank);
          // rank 1 alone uses the last parameter, in the second step
          let loss: Tensor = own.matmul(first).add(bias).tanh().matmul(second).square().meanAll();
          const usesIt = step === 1 && (worldSize === 1 || rank === 1);
          if (usesIt) loss = loss.add(unused.sumAll().mul(worldSize === 1 ? 1 : 2));
          backward([loss], [loss.onesLike()]);
        });
      exchange?.finish();
      if (exchange !== undefined) sent.push(exchange.stats.bytes);
      found.push(weights.map(({ grad }) => (grad === null ? [] : [...grad.toFloat32()])));
      for (const weight of weights) weight.grad = null;
    }
    exchange?.close();
    return { found, sent };
  },
};
