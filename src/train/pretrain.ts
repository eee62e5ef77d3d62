/** Pre-training: the loop, from pictures to checkpoints. */

import { join } from 'node:path';
import type { DeepReadonly } from '../config/index.js';
import { CACHE_LIMIT, CropLoader, cacheFor, type ImageSource } from '../data/index.js';
import type { World } from '../dist/index.js';
import { UserError } from '../errors.js';
import type { KnnResult } from '../eval/index.js';
import type { LogEntry, RunFolder } from '../run/index.js';
import { type Diagnosis, diagnose, type Health, measureHealth } from '../ssl/index.js';
import { cudaMemory, scope } from '../torch/index.js';
import { buildState } from './build.js';
import type { Position } from './checkpoint.js';
import { Checkpointing } from './checkpointing.js';
import { type Agreement, Company } from './company.js';
import { goOn, howToBegin } from './continuation.js';
import { cropPlan, prepareBatch, releaseBatch } from './crops.js';
import { evaluateTeacher, type KnnSources } from './evaluate.js';
import { samplerFor } from './order.js';
import type { PretrainEvents, PretrainResult, StepReport } from './pretrain-events.js';
import type { ResolvedTrainConfig } from './resolved-config.js';
import { stepSettings, stepsPerEpoch } from './schedules.js';
import { startFrom } from './starting-weights.js';
import { type StepBatch, type StepResult, type StepState, trainStep } from './step.js';

type Config = DeepReadonly<ResolvedTrainConfig>;

/** Steps over which the loss is averaged for the verdict. */
const RECENT = 50;

/** `folder` is rank 0's; the other processes of `world` have none. */
export async function pretrain(
  config: Config,
  source: ImageSource,
  folder: RunFolder | undefined,
  events: PretrainEvents = {},
  knn?: KnnSources,
  world?: World,
): Promise<PretrainResult> {
  const run = new Pretraining(config, source, folder, events, knn, world);
  try {
    return await run.run();
  } finally {
    await run.close();
  }
}

class Pretraining {
  private readonly company: Company;
  private readonly state: StepState;
  private readonly settings: ReturnType<typeof stepSettings>;
  private readonly perEpoch: number;
  private readonly total: number;
  private position: Position = { epoch: 0, step: 0, sums: {} };
  private loader: CropLoader | undefined;
  private readonly recent: number[] = [];
  private started = 0;
  private imagesDone = 0;
  /** rank 0's */
  private saver: Checkpointing | undefined;
  private asked: string | undefined;
  private agreement: Agreement = { wantsSave: false };
  private knnResults: KnnResult[] | undefined;
  private diagnosis: Diagnosis | undefined;

  constructor(
    private readonly config: Config,
    private readonly source: ImageSource,
    private readonly folder: RunFolder | undefined,
    private readonly events: PretrainEvents,
    private readonly knn: KnnSources | undefined,
    private readonly world: World | undefined,
  ) {
    this.company = new Company(world);
    this.company.checkConfig(config);
    this.state = buildState(config, this.company.collectives);
    this.settings = stepSettings(config);
    this.perEpoch = stepsPerEpoch(config);
    this.total = this.perEpoch * config.epochs;
    if (this.perEpoch === 0)
      throw new UserError(
        'config',
        `--accumulate ${config.accumulate} is more than the ${config.batches_per_epoch} batches of an epoch; use at most that many.`,
      );
  }

  async run(): Promise<PretrainResult> {
    const { config, events, folder, company } = this;
    await this.begin();
    const cache = await cacheFor(this.source, CACHE_LIMIT / (this.world?.placement.localWorldSize ?? 1));
    this.loader = this.openLoader(cache);
    const resumedAt = this.done;
    const parameters = this.state.student.backbone.parameters().reduce((sum, { numel }) => sum + numel, 0);
    events.onStart?.({ total: this.total, resumedAt, parameters, outDim: config.out_dim });
    this.started = performance.now();
    this.saver?.restart();

    while (this.position.epoch < config.epochs) {
      const reason = await this.epoch();
      if (reason !== undefined) {
        this.save();
        return this.result('stopped', reason);
      }
      await this.endEpoch();
    }
    const result = this.result('finished');
    folder?.finish({ epochs: config.epochs, ...result });
    company.collectives.barrier(); // nobody ends before what rank 0 writes is whole
    return result;
  }

  async close(): Promise<void> {
    this.company.close();
    await this.loader?.close();
  }

  private get done(): number {
    return this.position.epoch * this.perEpoch + this.position.step;
  }

  /** Goes on from a checkpoint, or starts from other weights, or fresh. */
  private async begin(): Promise<void> {
    const { config, folder, state, events } = this;
    const note = (line: string) => events.onNote?.(line);
    if (folder !== undefined) {
      const { from } = howToBegin(folder, config);
      this.position =
        from === 'nothing' ? await startFrom(config, state, note) : goOn(from, config, folder, state, note);
      folder.rewind({ epoch: this.position.epoch, iteration: this.done });
      this.saver = new Checkpointing(config, folder, state, note);
      // From here on the folder has this state and no later one, whenever the process is killed.
      if (from === 'file') this.saver.save(this.position, this.done);
      folder.writeConfig(config);
    }
    this.position = this.company.begin(state, this.position, config, () => this.tell());
  }

  /** With every step: was this process asked to end, is a checkpoint due? */
  private tell(): readonly number[] {
    this.asked = this.events.stopReason?.();
    const wait = this.loader?.stats.waitSeconds ?? 0;
    return this.company.tell(this.asked !== undefined, this.saver?.isDue(this.done + 1) ?? false, wait);
  }

  private openLoader(cache: Awaited<ReturnType<typeof cacheFor>>): CropLoader {
    const { config, folder, events } = this;
    return new CropLoader({
      source: this.source,
      ...this.ranks,
      plan: cropPlan(config),
      // a CPU that trains has no time for tensors of pixels: exact byte arithmetic in the workers is cheaper
      photometric: config.device === 'cpu' ? 'workers' : 'device',
      seed: config.seed,
      sampler: samplerFor(config, this.source, this.ranks),
      maxBadFraction: config.max_bad_fraction,
      batchSize: config.batch_size_per_gpu,
      workers: config.num_workers,
      ...(cache !== undefined && { cache }),
      onBadImage: ({ key, reason }) => {
        events.onNote?.(`Skipped ${key}: ${reason}.`);
        folder?.badImage(key, reason);
      },
    });
  }

  /** The steps that are left of the current epoch; a reason when the run is to end before its end. */
  private async epoch(): Promise<string | undefined> {
    const { config, perEpoch, events, company } = this;
    const { epoch } = this.position;
    const loader = this.loader as CropLoader;
    if (this.position.step === perEpoch) return undefined; // ended while its end was being evaluated
    for (const { backbone } of [this.state.student, this.state.teacher])
      backbone.trainingProgress?.(epoch / config.epochs);
    let gathered: StepBatch[] = [];
    company.say(this.done, 'waiting for data');
    try {
      for await (const batch of loader.batches(epoch, this.position.step * config.accumulate)) {
        gathered.push(prepareBatch(batch, config));
        if (gathered.length < config.accumulate) continue;
        company.say(this.done, 'computing');
        this.step(gathered);
        gathered.forEach(releaseBatch);
        gathered = [];
        const { stopAskedOf, wantsSave } = this.agreement;
        if (this.world === undefined) this.asked = events.stopReason?.();
        if (this.asked !== undefined) return this.asked;
        if (stopAskedOf !== undefined) return `rank ${stopAskedOf} was asked to end`;
        if (
          config.max_iterations !== undefined &&
          this.done >= config.max_iterations &&
          this.done < this.total
        )
          return `--max_iterations ${config.max_iterations} is reached`;
        if (this.position.step === perEpoch) return undefined;
        if (wantsSave || (this.world === undefined && this.saver?.isDue(this.done))) this.trySave();
        company.say(this.done, 'waiting for data');
        await new Promise(setImmediate); // signals get their turn
      }
      return undefined;
    } finally {
      gathered.forEach(releaseBatch);
    }
  }

  private step(batches: readonly StepBatch[]): void {
    const { config, state, position, company } = this;
    const at = this.done;
    const settings = this.settings(at);
    const isChecked = config.health_every > 0 && (at + 1) % config.health_every === 0;
    let health: Health | undefined;
    const result = scope(() =>
      trainStep(state, batches, batches.length, settings, ({ student, teacher }) => {
        if (isChecked && health === undefined)
          health = measureHealth(student, teacher, state.loss, settings.epoch, company.collectives);
      }),
    );
    if (!result.taken && !Number.isFinite(result.loss)) this.giveUp(result, at);
    this.agreement = company.agree(result);
    if (isChecked) company.checkWeights(state);

    position.step++;
    const { sums } = position;
    for (const [name, value] of [
      ['loss', result.loss],
      ['lr', settings.lr],
      ['wd', settings.weightDecay],
    ] as const)
      sums[name] = (sums[name] ?? 0) + value;
    this.imagesDone += this.stepImages;
    this.recent.push(result.loss);
    if (this.recent.length > RECENT) this.recent.shift();
    this.report(at, settings, result, health);
  }

  private report(
    at: number,
    settings: ReturnType<ReturnType<typeof stepSettings>>,
    result: StepResult,
    health: Health | undefined,
  ): void {
    const { config, events, folder, total, company } = this;
    const seconds = (performance.now() - this.started) / 1000;
    const report: StepReport = {
      done: at + 1,
      total,
      epoch: settings.epoch,
      loss: result.loss,
      lr: settings.lr,
      images: this.stepImages,
      dataWait: Math.min(1, (this.loader as CropLoader).stats.waitSeconds / Math.max(seconds, 1e-9)),
      memory: process.memoryUsage.rss(),
      ...(company.pace.straggler && { straggler: company.pace.straggler }),
    };
    const norms = [...result.gradientNorms.values()];
    const gradientNorm = norms.length > 0 ? Math.max(...norms) : Number.NaN;
    if (health !== undefined) {
      this.diagnosis = diagnose(health, {
        loss: this.recent.reduce((sum, loss) => sum + loss, 0) / this.recent.length,
        outDim: config.out_dim,
        gradientNorm: norms.length > 0 ? gradientNorm : 0,
        step: at + 1,
        warmupSteps: config.warmup_epochs * this.perEpoch,
      });
      events.onHealth?.(health, this.diagnosis, report);
    }
    const gpu = config.device === 'cpu' ? null : cudaMemory();
    folder?.metric({
      iteration: at,
      epoch: settings.epoch,
      loss: result.loss,
      ...(result.contrast !== undefined && { contrast: result.contrast }),
      lr: settings.lr,
      wd: settings.weightDecay,
      momentum: settings.momentum,
      ...(norms.length > 0 && {
        grad_norm: Math.sqrt(norms.reduce((sum, norm) => sum + norm * norm, 0)),
        grad_norm_max: gradientNorm,
      }),
      images_per_second: this.imagesDone / seconds,
      data_wait: report.dataWait,
      memory_mb: Math.round(report.memory / 2 ** 20),
      ...(gpu !== null && { gpu_memory_mb: Math.round(gpu.allocatedPeak / 2 ** 20) }),
      ...company.pace.metrics(config.batch_size_per_gpu * config.accumulate),
      ...(health !== undefined && {
        teacher_entropy: health.teacherEntropy,
        student_entropy: health.studentEntropy,
        kl: health.kl,
        answer_spread: health.answerSpread,
        center_norm: health.centerNorm,
        feature_std: health.featureStd,
        effective_rank: health.effectiveRank,
        verdict: this.diagnosis?.verdict ?? '',
      }),
    });
    events.onStep?.(report);
  }

  /** The epoch's line in log.txt, its evaluation and its checkpoint. */
  private async endEpoch(): Promise<void> {
    const { config, folder, state, position, company } = this;
    const { epoch, sums } = position;
    const means = Object.entries(sums).map(([name, sum]) => [`train_${name}`, sum / this.perEpoch]);
    let entry: LogEntry = { ...Object.fromEntries(means), epoch };
    const isDue =
      config.knn_every > 0 && ((epoch + 1) % config.knn_every === 0 || epoch + 1 === config.epochs);
    if (isDue && this.knn !== undefined) {
      if (company.decide(() => this.saver?.has(this.done) === false)) this.trySave(); // evaluating may take long
      company.say(this.done, 'evaluating');
      this.knnResults = await evaluateTeacher(config, state.teacher, this.knn, company.collectives);
      entry = {
        ...entry,
        ...Object.fromEntries(this.knnResults.map(({ k, top1 }) => [`knn${k}_top1`, top1])),
      };
    }
    folder?.log(entry);
    this.events.onEpoch?.(entry);
    this.position = { epoch: epoch + 1, step: 0, sums: {} };

    const knn = isDue ? this.knnResults?.[0]?.top1 : undefined;
    const place = company.savable(state, this.position);
    this.saver?.endEpoch(place, this.done, { epoch, ...(knn !== undefined && { knn }) });
  }

  /** All ranks take part, rank 0 writes. */
  private save(): void {
    const place = this.company.savable(this.state, this.position);
    this.saver?.save(place, this.done);
  }

  private trySave(): void {
    const place = this.company.savable(this.state, this.position);
    this.saver?.trySave(place, this.done);
  }

  /** The step changed nothing, so the state that is saved is the last good one. */
  private giveUp({ loss, ranks }: StepResult, at: number): never {
    const { company, config } = this;
    this.save();
    company.collectives.barrier();
    const bad = ranks?.findIndex((rank) => !Number.isFinite(rank.loss)) ?? -1;
    return company.blame(
      Math.max(0, bad),
      `the loss is ${bad < 0 ? loss : ranks?.[bad].loss} at iteration ${at}. The state before it is saved in ${join(config.output_dir, 'checkpoint.pth')}. ` +
        'Lower --lr, set --clip_grad, or use --precision fp32, and start the same command again.',
    );
  }

  /** This process's place among those that share the pictures. */
  private get ranks() {
    const { rank, worldSize } = this.company.collectives;
    return { rank, world: worldSize, ranksPerNode: this.world?.placement.localWorldSize ?? 1 };
  }

  /** Pictures of a step, over all processes. */
  private get stepImages(): number {
    const { batch_size_per_gpu: batch, accumulate } = this.config;
    return batch * accumulate * this.company.collectives.worldSize;
  }

  private result(status: PretrainResult['status'], reason?: string): PretrainResult {
    const seconds = (performance.now() - this.started) / 1000;
    return {
      status,
      steps: this.done,
      loss: this.recent.reduce((sum, loss) => sum + loss, 0) / Math.max(1, this.recent.length),
      imagesPerSecond: this.imagesDone / seconds,
      badImages: this.company.total(this.loader?.badImages.size ?? 0),
      ...(reason !== undefined && this.asked === undefined && this.agreement.stopAskedOf !== undefined
        ? { askedElsewhere: true }
        : {}),
      ...(reason !== undefined && { reason }),
      ...(this.knnResults !== undefined && { knn: this.knnResults }),
      ...(this.diagnosis !== undefined && { diagnosis: this.diagnosis }),
    };
  }
}
