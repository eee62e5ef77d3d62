/** Linear evaluation: softmax regression on frozen features by SGD, for several settings in one pass over the data. */

import { internal } from '../errors.js';
import { cosineAnnealing } from '../optim/index.js';
import {
  inferenceMode,
  linear,
  newGenerator,
  noGrad,
  ones,
  scope,
  type Tensor,
  tensor,
  zeros,
} from '../torch/index.js';
import type { ProbeExchange } from './probe-exchange.js';

/** One classifier: on the features of so many last blocks, with this learning rate (scaled, at the start). */
export interface ProbeSetting {
  blocks: number;
  lr: number;
}

export interface LinearOptions {
  settings: readonly ProbeSetting[];
  /** width of the features by number of last blocks; they are the last columns of what `step` gets */
  widths: ReadonlyMap<number, number>;
  numLabels: number;
  /** epochs of the cosine from `lr` to 0 */
  epochs: number;
  momentum?: number;
  weightDecay?: number;
  seed?: number;
  device?: string;
  /** with the ranks that train the same classifiers on other parts of each batch */
  exchange?: ProbeExchange;
}

/** A batch of features and what they should be called. */
export interface LabelledBatch {
  /** [n, D] */
  features: Tensor;
  /** int64 [n] */
  labels: Tensor;
  /** rows of the batch over all ranks, if this is one rank's part of it */
  of?: number;
}

export interface Validation {
  /** mean over the batches, whatever their sizes, as in the original */
  loss: number;
  /** percent */
  acc1: number;
  /** percent; with fewer than five classes, among all of them */
  acc5: number;
}

/** The weights of one classifier and the memory of its optimiser; views into those of its group. */
export interface ProbeState {
  /** [numLabels, width] */
  weight: Tensor;
  /** [numLabels] */
  bias: Tensor;
  momentumWeight: Tensor;
  momentumBias: Tensor;
}

/** The classifiers that see the same features: one product serves them all. */
interface Group {
  width: number;
  /** numbers of the settings */
  members: number[];
  /** [P, C, width] */
  weight: Tensor;
  /** [P, C] */
  bias: Tensor;
  momentumWeight: Tensor;
  momentumBias: Tensor;
}

export class LinearProbes {
  private readonly groups: Group[];
  private readonly rates: readonly Float64Array[];

  constructor(private readonly options: LinearOptions) {
    const { settings, widths, numLabels, epochs, seed = 0, device = 'cpu' } = options;
    this.rates = settings.map(({ lr }) => cosineAnnealing(lr, epochs));
    this.groups = [...new Set(settings.map(({ blocks }) => blocks))].map((blocks) => {
      const width = widths.get(blocks);
      if (width === undefined) throw internal(`no width of the features of ${blocks} blocks`);
      const members = settings.flatMap((setting, i) => (setting.blocks === blocks ? [i] : []));
      const make = (shape: number[]) => zeros(shape, { device }).keep();
      const count = members.length;
      const weight = make([count, numLabels, width]);
      // All learning rates start from the same weights.
      scope(() =>
        weight.copy_(zeros([numLabels, width]).normal_(0, 0.01, { generator: newGenerator(seed) })),
      );
      return {
        width,
        members,
        weight,
        bias: make([count, numLabels]),
        momentumWeight: make([count, numLabels, width]),
        momentumBias: make([count, numLabels]),
      };
    });
  }

  get settings(): readonly ProbeSetting[] {
    return this.options.settings;
  }

  /** The learning rate of a setting in an epoch. */
  rate(setting: number, epoch: number): number {
    return this.rates[setting][epoch];
  }

  /**
   * One step of all classifiers. `batch` is this rank's part, undefined where it has none in this step.
   * -> the losses before it, over all ranks, by setting
   */
  step(batch: LabelledBatch | undefined, epoch: number): number[] {
    const { exchange } = this.options;
    // Tensors of inference mode are not for the threads of collectives.
    const mode = exchange === undefined ? inferenceMode : noGrad;
    return mode(() =>
      scope(() => {
        const placed = batch === undefined ? undefined : this.placed(batch);
        const found = this.groups.map((group) =>
          placed === undefined ? nothing(group) : gradients(group, placed.features, placed.labels),
        );
        const rows = placed?.labels.numel ?? 0;
        exchange?.average(
          found.flatMap(({ loss, gradWeight, gradBias }) => [loss, gradWeight, gradBias]),
          rows,
        );
        for (const [g, { gradWeight, gradBias }] of found.entries())
          this.update(this.groups[g], gradWeight, gradBias, epoch);
        return this.bySetting(found.map(({ loss }) => loss.toFloat32()));
      }),
    );
  }

  /** SGD with momentum; the buffer of the first step is its gradient. */
  private update(group: Group, gradWeight: Tensor, gradBias: Tensor, epoch: number): void {
    const { momentum = 0.9, weightDecay = 0, device = 'cpu' } = this.options;
    const rates = tensor(group.members.map((i) => this.rates[i][epoch])).to({ device });
    const move = (value: Tensor, gradient: Tensor, buffer: Tensor, rate: Tensor): void => {
      const decayed = weightDecay === 0 ? gradient : gradient.add(value, { alpha: weightDecay });
      buffer.mul_(momentum).add_(decayed);
      value.addcmul_(buffer, rate, { value: -1 });
    };
    move(group.weight, gradWeight, group.momentumWeight, rates.view([-1, 1, 1]));
    move(group.bias, gradBias, group.momentumBias, rates.view([-1, 1]));
  }

  /** Accuracies of all classifiers, by setting. */
  async validate(batches: AsyncIterable<LabelledBatch> | Iterable<LabelledBatch>): Promise<Validation[]> {
    const count = this.settings.length;
    const sums = {
      loss: new Float64Array(count),
      hits1: new Float64Array(count),
      hits5: new Float64Array(count),
    };
    let rows = 0;
    let batchCount = 0;
    for await (const batch of batches) {
      const own = batch.labels.numel;
      rows += own;
      batchCount++;
      if (own === 0) continue; // the other ranks' part of it is all there is
      const share = batch.of === undefined ? 1 : own / batch.of;
      inferenceMode(() =>
        scope(() => {
          const { features, labels } = this.placed(batch);
          for (const group of this.groups) {
            const { loss, hits1, hits5 } = judged(group, features, labels);
            for (const [own, setting] of group.members.entries()) {
              sums.loss[setting] += share * loss[own];
              sums.hits1[setting] += hits1[own];
              sums.hits5[setting] += hits5[own];
            }
          }
        }),
      );
    }
    const own = [rows, ...sums.loss, ...sums.hits1, ...sums.hits5];
    const [total, ...all] = this.options.exchange?.sum(own) ?? own;
    return this.settings.map((_, i) => ({
      loss: all[i] / batchCount,
      acc1: (100 * all[count + i]) / total,
      acc5: (100 * all[2 * count + i]) / total,
    }));
  }

  /** All ranks go on from rank 0's weights and momentum. */
  spread(): void {
    for (const { weight, bias, momentumWeight, momentumBias } of this.groups)
      this.options.exchange?.spread([weight, bias, momentumWeight, momentumBias]);
  }

  /** The tensors of one setting themselves, not copies. */
  state(setting: number): ProbeState {
    const group = this.groups.find(({ members }) => members.includes(setting));
    if (group === undefined) throw internal(`no classifier number ${setting}`);
    const at = group.members.indexOf(setting);
    return {
      weight: group.weight.select(0, at),
      bias: group.bias.select(0, at),
      momentumWeight: group.momentumWeight.select(0, at),
      momentumBias: group.momentumBias.select(0, at),
    };
  }

  dispose(): void {
    for (const { weight, bias, momentumWeight, momentumBias } of this.groups)
      for (const one of [weight, bias, momentumWeight, momentumBias]) one.dispose();
  }

  /** The batch on the device of the classifiers. */
  private placed({ features, labels }: LabelledBatch): LabelledBatch {
    const { device = 'cpu' } = this.options;
    return { features: features.to({ device }), labels: labels.to({ device }) };
  }

  private bySetting(groups: readonly ArrayLike<number>[]): number[] {
    const result = new Array<number>(this.settings.length);
    for (const [g, { members }] of this.groups.entries())
      for (const [own, setting] of members.entries()) result[setting] = groups[g][own];
    return result;
  }
}

/** features: [n, D] -> logits [n, P, C] of all classifiers of the group */
function logitsOf({ weight, bias, width }: Group, features: Tensor): Tensor {
  const [count, numLabels] = bias.shape;
  const seen = features.narrow(1, features.shape[1] - width, width);
  return linear(seen, weight.view([count * numLabels, width]), bias.view([count * numLabels])).view([
    features.shape[0],
    count,
    numLabels,
  ]);
}

/** Cross entropy of the right classes. -> [n, P], with the logsumexp [n, P, 1] */
function crossEntropy(logits: Tensor, labels: Tensor): { loss: Tensor; normaliser: Tensor; target: Tensor } {
  const [rows, count] = logits.shape;
  const target = labels.view([rows, 1, 1]).expand([rows, count, 1]);
  const normaliser = logits.logsumexp([2], true);
  const loss = normaliser.sub(logits.gather(2, target)).squeeze(2);
  return { loss, normaliser, target };
}

/** The mean loss over the batch and its gradient, written down: (softmax - one-hot) / n. */
function gradients(group: Group, features: Tensor, labels: Tensor) {
  const { width } = group;
  const logits = logitsOf(group, features);
  const [rows, count, numLabels] = logits.shape;
  const { loss, normaliser, target } = crossEntropy(logits, labels);
  const gradient = logits
    .sub(normaliser)
    .exp_()
    .scatterAdd_(2, target, ones([1], { device: logits.device }).neg().expand([rows, count, 1]))
    .div_(rows)
    .view([rows, count * numLabels]);
  const seen = features.narrow(1, features.shape[1] - width, width);
  return {
    loss: loss.mean([0]),
    gradWeight: gradient.t().matmul(seen).view([count, numLabels, width]),
    gradBias: gradient.sum([0]).view([count, numLabels]),
  };
}

/** What `gradients` gives, of no rows. */
function nothing({ weight, bias, members }: Group): ReturnType<typeof gradients> {
  return {
    loss: zeros([members.length], { device: weight.device }),
    gradWeight: weight.zerosLike(),
    gradBias: bias.zerosLike(),
  };
}

/** Mean loss over the batch and numbers of right answers, by classifier. */
function judged(
  group: Group,
  features: Tensor,
  labels: Tensor,
): Record<'loss' | 'hits1' | 'hits5', Float32Array> {
  const logits = logitsOf(group, features);
  const [, ranked] = logits.topk(Math.min(5, logits.shape[2]), 2, true, true);
  const hits = ranked.eq(labels.view([-1, 1, 1])).to({ dtype: 'float32' });
  return {
    loss: crossEntropy(logits, labels).loss.mean([0]).toFloat32(),
    hits1: hits.narrow(2, 0, 1).sum([0, 2]).toFloat32(),
    hits5: hits.sum([0, 2]).toFloat32(),
  };
}

/** Consecutive batches of `size` rows, in the given order of rows; the last one may be shorter. */
export function* batchesOf(
  table: LabelledBatch,
  size: number,
  order?: Uint32Array,
): Generator<LabelledBatch> {
  if (order === undefined) {
    yield* rowsOfTable(table, size);
    return;
  }
  for (let start = 0; start < order.length; start += size)
    yield* handedOut(() => {
      const wanted = tensor(Int32Array.from(order.subarray(start, start + size)));
      return {
        features: table.features.indexSelect(0, wanted),
        labels: table.labels.indexSelect(0, wanted),
      };
    });
}

/** The rows of a table, `size` at a time. */
export function* rowsOfTable({ features, labels }: LabelledBatch, size: number): Generator<LabelledBatch> {
  const rows = labels.numel;
  for (let start = 0; start < rows; start += size) {
    const count = Math.min(size, rows - start);
    yield* handedOut(() => ({
      features: features.narrow(0, start, count),
      labels: labels.narrow(0, start, count),
    }));
  }
}

/** A rank's rows of consecutive batches that hold `size` rows of each rank; the last one may leave none for it. */
export function* partsOf(
  { features, labels }: LabelledBatch,
  size: number,
  { rank, worldSize }: { rank: number; worldSize: number },
): Generator<LabelledBatch> {
  const rows = labels.numel;
  const whole = size * worldSize;
  for (let first = 0; first < rows; first += whole) {
    const start = Math.min(rows, first + rank * size);
    const count = Math.min(size, rows - start);
    const of = Math.min(whole, rows - first);
    yield* handedOut(() => ({
      features: features.narrow(0, start, count),
      labels: labels.narrow(0, start, count),
      of,
    }));
  }
}

/** One batch that lives until the next one is asked for. */
function* handedOut(make: () => LabelledBatch): Generator<LabelledBatch> {
  const batch = inferenceMode(() => scope(make));
  const parts = [batch.features.keep(), batch.labels.keep()];
  try {
    yield batch;
  } finally {
    for (const part of parts) part.dispose();
  }
}

/** Means over an epoch of the losses of its steps. */
export class MeanLosses {
  private readonly sums: Float64Array;
  private steps = 0;

  constructor(count: number) {
    this.sums = new Float64Array(count);
  }

  add(losses: readonly number[]): void {
    for (const [i, loss] of losses.entries()) this.sums[i] += loss;
    this.steps++;
  }

  get means(): number[] {
    return Array.from(this.sums, (sum) => sum / this.steps);
  }
}
