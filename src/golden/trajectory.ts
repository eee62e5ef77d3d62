/** Golden kind `trajectory`: whole training runs through the original's loop, and their checkpoints. */

import { join } from 'node:path';
import { z } from 'zod';
import { normalise } from '../data/index.js';
import {
  AdamW,
  cosineSchedule,
  Lars,
  type Optimizer,
  type ParamGroup,
  paramGroups,
  Sgd,
} from '../optim/index.js';
import { startTeacher, ViewLoss, ViewRegionLoss } from '../ssl/index.js';
import { cat, type Device, manualSeed, noGrad, scope, type Tensor } from '../torch/index.js';
import { loadCheckpoint, type StepState, trainStep } from '../train/index.js';
import { readPth, readSafetensors, stateDictOf } from '../weights/index.js';
import {
  type Check,
  compareNumbers,
  compareTensors,
  failed,
  type GoldenCase,
  placed,
  tensorsOf,
} from './case.js';
import { buildNetwork, networkSchema } from './network.js';

const configSchema = networkSchema.extend({
  optimizer: z.enum(['adamw', 'sgd', 'lars']),
  batch: z.number(),
  world_size: z.number(),
  iters_per_epoch: z.number(),
  epochs: z.number(),
  local_crops_number: z.number(),
  lr: z.number(),
  min_lr: z.number(),
  warmup_epochs: z.number(),
  weight_decay: z.number(),
  weight_decay_end: z.number(),
  clip_grad: z.number(),
  momentum_teacher: z.number(),
  freeze_last_layer: z.number(),
  warmup_teacher_temp: z.number(),
  teacher_temp: z.number(),
  warmup_teacher_temp_epochs: z.number(),
  crops_from: z.string(),
  initial_state_from: z.string(),
});

const tolerance = z.looseObject({ atol: z.number() });

const schema = z.looseObject({
  config: configSchema,
  compare: z.record(z.string(), tolerance),
  final_atol: z.record(z.string(), z.number()),
  grad_norm_columns: z.array(z.string()),
});

type Config = z.output<typeof configSchema>;

const OPTIMIZERS: Record<Config['optimizer'], (groups: readonly ParamGroup[]) => Optimizer> = {
  adamw: (groups) => new AdamW(groups),
  sgd: (groups) => new Sgd(groups, 0.9),
  lars: (groups) => new Lars(groups),
};

export function* runTrajectory(golden: GoldenCase, folder: string): Generator<Check> {
  const { config, compare, final_atol, grad_norm_columns } = schema.parse(golden);
  const stored = tensorsOf(golden, folder);
  const own = golden.name.split('/')[1];
  const sibling = (name: string, suffix: string) => join(folder, golden.files[0].replace(own, name + suffix));
  const start = sibling(config.initial_state_from, '').replace(/\.safetensors$/, '.epoch0.pth');
  const pixels = config.crops_from === own ? stored : readSafetensors(sibling(config.crops_from, '')).tensors;
  const crops = placed(pixels, golden.device);

  const run = new Run(config, crops, golden.device);
  // The original's trajectories of other optimisers start from the same weights, not the same optimiser.
  run.start(start, config.initial_state_from === own);
  yield* run.train(0, config.epochs);
  for (const [name, columns] of Object.entries(run.recorded(grad_norm_columns))) {
    const expected = stored.get(name);
    if (expected === undefined) continue;
    const atol = compare[name]?.atol ?? 1e-12;
    yield compareNumbers(name, columns, Array.from(expected.toArray(), Number), atol);
  }
  const last = golden.files.find((file) => file.endsWith(`.epoch${config.epochs}.pth`));
  const final = last === undefined ? finalTensors(stored) : checkpointTensors(join(folder, last));
  yield* run.compareFinal('', final, final_atol);

  for (const file of golden.files) {
    const middle = /\.epoch(\d+)\.pth$/.exec(file);
    const epoch = Number(middle?.[1] ?? 0);
    if (epoch === 0 || epoch === config.epochs) continue;
    const resumed = new Run(config, crops, golden.device);
    const position = loadCheckpoint(join(folder, file), resumed.state);
    if (position.epoch !== epoch) yield failed(file, `resumes at epoch ${position.epoch}, expected ${epoch}`);
    yield* resumed.train(epoch, config.epochs);
    yield* resumed.compareFinal(`resumed from ${epoch}: `, final, final_atol);
  }
}

/** One run of a micro network on stored crops. */
class Run {
  readonly state: StepState;
  private readonly schedules: Record<'lr' | 'wd' | 'momentum', Float64Array>;
  private readonly columns: Record<string, number[]> = {
    loss: [],
    center_l2: [],
    center_grid_l2: [],
    student_l2: [],
    teacher_l2: [],
  };
  private readonly gradientNorms: Map<string, number>[] = [];

  constructor(
    private readonly config: Config,
    private readonly crops: ReadonlyMap<string, Tensor>,
    device: Device,
  ) {
    manualSeed(0);
    const student = buildNetwork(config);
    const teacher = buildNetwork(config);
    startTeacher(teacher, student);
    const options = {
      outDim: config.out_dim,
      warmupTeacherTemp: config.warmup_teacher_temp,
      teacherTemp: config.teacher_temp,
      warmupTeacherTempEpochs: config.warmup_teacher_temp_epochs,
      nepochs: config.epochs,
    };
    const loss = config.use_dense_prediction ? new ViewRegionLoss(options) : new ViewLoss(options);
    for (const module of [student, teacher, loss]) module.to({ device });
    this.state = { student, teacher, loss, optimizer: OPTIMIZERS[config.optimizer](paramGroups(student)) };
    const { epochs, iters_per_epoch: iterationsPerEpoch } = config;
    const scaled = (config.lr * config.batch * config.world_size) / 256;
    this.schedules = {
      lr: cosineSchedule({
        base: scaled,
        final: config.min_lr,
        epochs,
        iterationsPerEpoch,
        warmupEpochs: config.warmup_epochs,
      }),
      wd: cosineSchedule({
        base: config.weight_decay,
        final: config.weight_decay_end,
        epochs,
        iterationsPerEpoch,
      }),
      momentum: cosineSchedule({ base: config.momentum_teacher, final: 1, epochs, iterationsPerEpoch }),
    };
  }

  /** Takes the stored start; other optimisers than the file's take its weights alone. */
  start(path: string, whole: boolean): void {
    if (whole) {
      loadCheckpoint(path, this.state);
      return;
    }
    const saved = checkpointTensors(path);
    for (const key of ['student', 'teacher', 'loss'] as const) {
      const prefix = `${key === 'loss' ? 'dino_loss' : key}.`;
      const own = [...saved].filter(([name]) => name.startsWith(prefix));
      this.state[key].loadStateDict(new Map(own.map(([name, value]) => [name.slice(prefix.length), value])));
    }
  }

  *train(from: number, to: number): Generator<Check> {
    const { config, schedules, state, columns } = this;
    const { iters_per_epoch: iterations } = config;
    for (let epoch = from; epoch < to; epoch++) {
      for (let iteration = 0; iteration < iterations; iteration++) {
        const at = epoch * iterations + iteration;
        const result = scope(() =>
          trainStep(state, [{ size: config.batch, crops: this.batch(iteration) }], 1, {
            epoch,
            lr: schedules.lr[at],
            weightDecay: schedules.wd[at],
            momentum: schedules.momentum[at],
            clipGrad: config.clip_grad,
            freezeLastLayer: epoch < config.freeze_last_layer,
            precision: 'float32',
          }),
        );
        if (!result.taken) return yield failed(`epoch ${epoch}`, `the loss is ${result.loss}`);
        columns.loss.push(result.loss);
        for (const [name, center] of state.loss.namedBuffers()) columns[`${name}_l2`]?.push(length([center]));
        columns.student_l2.push(length(state.student.parameters()));
        this.gradientNorms.push(result.gradientNorms);
      }
      columns.teacher_l2.push(length(state.teacher.parameters()));
    }
  }

  recorded(names: readonly string[]): Record<string, ArrayLike<number>> {
    const norms = this.gradientNorms.flatMap((row) =>
      names.map((name) => row.get(name.replace(/^module\./, '')) ?? Number.NaN),
    );
    return { ...this.columns, ...this.schedules, ...(this.config.clip_grad > 0 && { grad_norms: norms }) };
  }

  *compareFinal(
    prefix: string,
    expected: ReadonlyMap<string, Tensor>,
    tolerances: Readonly<Record<string, number>>,
  ): Generator<Check> {
    const mine = new Map<string, Tensor>();
    for (const key of ['student', 'teacher', 'loss'] as const)
      for (const [name, value] of this.state[key].stateDict())
        mine.set(`${key === 'loss' ? 'dino_loss' : key}.${name}`, value);
    for (const [name, golden] of expected) {
      const atol = tolerances[name.replace(/^dino_loss\./, 'loss.')];
      if (atol === undefined) continue; // whole-number buffers
      const value = mine.get(name);
      yield value === undefined
        ? failed(prefix + name, 'we have no such tensor')
        : compareTensors(prefix + name, ...withoutKeyBias(name, value, golden), atol);
    }
  }

  /** The stored pictures of one iteration: one tensor a size. */
  private batch(iteration: number): Tensor[] {
    const view = (i: number) => this.crops.get(`crop.${iteration}.${i}`) as Tensor;
    const group = (from: number, to: number) =>
      normalise(cat(Array.from({ length: to - from }, (_, i) => view(from + i))));
    const groups = [group(0, 2)];
    if (this.config.local_crops_number > 0) groups.push(group(2, 2 + this.config.local_crops_number));
    return groups;
  }
}

/**
 * The exact gradient of the key bias is 0, and Adam makes steps of its rounding noise: the middle third of
 * the bias of queries, keys and values says nothing.
 */
function withoutKeyBias(name: string, mine: Tensor, golden: Tensor): [Tensor, Tensor] {
  if (!name.endsWith('attn.qkv.bias') || mine.numel !== golden.numel) return [mine, golden];
  const outer = (bias: Tensor) => {
    const [queries, , values] = bias.detach().chunk(3);
    return cat([queries, values]);
  };
  return [outer(mine), outer(golden)];
}

function length(tensors: readonly Tensor[]): number {
  return noGrad(() =>
    scope(() => {
      const squares = tensors.map((value) => value.to({ dtype: 'float64' }).square().sumAll().item());
      return Math.sqrt(squares.reduce((sum, square) => sum + square, 0));
    }),
  );
}

function finalTensors(stored: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const prefix = 'final.';
  return new Map(
    [...stored]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, value]) => [name.slice(prefix.length).replace(/^loss\./, 'dino_loss.'), value]),
  );
}

/** Weights and centres of a checkpoint as `student.<name>`, `teacher.<name>`, `dino_loss.<name>`. */
function checkpointTensors(path: string): Map<string, Tensor> {
  const content = readPth(path);
  const result = new Map<string, Tensor>();
  if (!(content instanceof Map)) return result;
  for (const key of ['student', 'teacher', 'dino_loss'])
    for (const [name, value] of stateDictOf(content.get(key)) ?? [])
      result.set(`${key}.${name.replace(/^module\./, '')}`, value);
  return result;
}
