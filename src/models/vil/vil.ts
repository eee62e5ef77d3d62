/** Vision Longformer (Zhang et al. 2021): stages of local attention with global tokens, on ever coarser maps. */

import { UserError } from '../../errors.js';
import { Buffer, LayerNorm, Module, startNarrow } from '../../nn/index.js';
import { cat, noGrad, scope, type Tensor, tensor } from '../../torch/index.js';
import type { AttentionMap, Backbone, BlockFeatureOptions, Features } from '../backbone.js';
import type { StageSpec } from './arch.js';
import type { MapObserver } from './attention-map.js';
import { AttentionBlock, MlpBlock } from './blocks.js';
import { LongformerAttention } from './longformer.js';
import type { AttentionType, Grid, VilOptions } from './options.js';
import { PatchEmbed } from './patch-embed.js';
import { PerformerAttention } from './performer.js';

type Layer = PatchEmbed | AttentionBlock | MlpBlock;

/** What a stage is asked to show as it runs. */
interface Visitors {
  /** tokens after each block, [B, globals + rows * columns, C] */
  block?: (tokens: Tensor) => void;
  attention?: (grid: Grid) => MapObserver;
}

export class VisionLongformer extends Module implements Backbone {
  readonly featureDim: number;
  readonly depths: readonly number[];
  /** performer only: training passes since the random features were drawn; int64 */
  readonly callsSinceLastRedraw: Buffer | null;
  /** Each: the patch embedding, then for each block its attention and its MLP. */
  readonly layer1: readonly Layer[];
  readonly layer2: readonly Layer[];
  readonly layer3: readonly Layer[];
  readonly layer4: readonly Layer[] | null;
  readonly norm: LayerNorm;
  private readonly stages: readonly (readonly Layer[])[];

  constructor(private readonly options: VilOptions) {
    super();
    this.depths = options.stages.map(({ depth }) => depth);
    this.featureDim = options.stages[options.stages.length - 1].dim;
    this.callsSinceLastRedraw =
      options.attentionType === 'performer' ? new Buffer(tensor(new BigInt64Array(1), { shape: [] })) : null;
    this.stages = makeStages(options);
    [this.layer1, this.layer2, this.layer3] = this.stages;
    this.layer4 = this.stages[3] ?? null;
    this.norm = new LayerNorm(this.featureDim, options.normEps);
    startNarrow(this);
  }

  forwardFeatures(x: Tensor): Features {
    return scope(() => {
      this.redrawFeatures();
      const { tokens, grid } = this.run(x);
      const normed = this.norm.forward(tokens);
      const { globals } = this.options.stages[this.stages.length - 1];
      return {
        pooled: this.pool(normed, globals),
        tokens: normed.narrow(1, globals, grid[0] * grid[1]),
        grid,
      };
    });
  }

  blockFeatures(x: Tensor, count: number, _options: BlockFeatureOptions = {}): Tensor {
    return scope(() => {
      const first = this.depths.reduce((a, b) => a + b, 0) - count;
      const pooled: Tensor[] = [];
      let block = 0;
      this.run(x, (stage) => ({
        block: (tokens) => {
          if (block++ < first) return;
          const last = stage === this.stages.length - 1;
          const { globals } = this.options.stages[stage];
          const one = scope(() => this.pool(last ? this.norm.forward(tokens) : tokens, globals).clone());
          pooled.push(one.keep());
        },
      }));
      for (const part of pooled) part.rescope();
      return cat(pooled, -1);
    });
  }

  /**
   * Of blocks whose keys are tokens: all but `linformer` and `srformer`. Where it is local it is written out among
   * all tokens, with zeros; global tokens come first.
   */
  attentionMaps(x: Tensor): AttentionMap[] {
    const maps: AttentionMap[] = [];
    scope(() => {
      let block = -1;
      this.run(x, (stage) => ({
        attention: (grid) => {
          block++;
          return (probabilities) => {
            probabilities.keep();
            maps.push({ block, stage, probabilities, grid, windowSize: 0, shift: 0 });
          };
        },
      }));
    });
    for (const { probabilities } of maps) probabilities.rescope();
    return maps;
  }

  /** From a share of the training on, chunks see all their neighbours instead of a random one. */
  trainingProgress(share: number): void {
    const { mode, modeSwitch } = this.options;
    if (mode <= 0) return;
    for (const [, module] of this.modules())
      if (module instanceof LongformerAttention) module.mode = share >= modeSwitch ? 0 : mode;
  }

  /** Tokens of the last stage before the last norm. */
  private run(x: Tensor, visit?: (stage: number) => Visitors): { tokens: Tensor; grid: Grid } {
    return scope(() => {
      this.checkSize(x);
      let map = x.permute([0, 2, 3, 1]);
      let result: { tokens: Tensor; grid: Grid } | undefined;
      for (const [i, stage] of this.stages.entries()) {
        const previous = result;
        result = runStage(stage, map, visit?.(i) ?? {});
        previous?.tokens.dispose();
        const [batch, length, dim] = result.tokens.sizes(3);
        const [rows, columns] = result.grid;
        const { globals } = this.options.stages[i];
        if (i + 1 < this.stages.length)
          map = result.tokens.narrow(1, globals, length - globals).reshape([batch, rows, columns, dim]);
      }
      return result as { tokens: Tensor; grid: Grid };
    });
  }

  /** tokens: [B, globals + N, C] -> [B, C], the first global token or the mean over all */
  private pool(tokens: Tensor, globals: number): Tensor {
    return globals > 0 && !this.options.avgPool ? tokens.select(1, 0) : tokens.mean([1]);
  }

  private checkSize(x: Tensor): void {
    const [, , height, width] = x.sizes(4);
    const least = this.options.stages.reduce((product, { patchSize }) => product * patchSize, 1);
    if (height < least || width < least)
      throw new UserError(
        'usage',
        `a picture of ${height}x${width} pixels is smaller than one patch of ${least}x${least}, which all stages ` +
          'together make one token of.',
      );
  }

  /** Performer: new random features in every second training pass. */
  private redrawFeatures(): void {
    const calls = this.callsSinceLastRedraw;
    if (calls === null || !this.training) return;
    noGrad(() => {
      if (calls.item() < 1) {
        calls.add_(1);
        return;
      }
      for (const [, module] of this.modules()) if (module instanceof PerformerAttention) module.redraw();
      calls.zero_();
    });
  }
}

function runStage(
  stage: readonly Layer[],
  x: Tensor,
  { block, attention }: Visitors,
): { tokens: Tensor; grid: Grid } {
  return scope(() => {
    const [entrance, ...layers] = stage;
    let { tokens, grid } = (entrance as PatchEmbed).forward(x);
    for (const layer of layers) {
      const before = tokens;
      if (layer instanceof AttentionBlock) tokens = layer.forward(tokens, grid, attention?.(grid));
      else {
        tokens = (layer as MlpBlock).forward(tokens);
        block?.(tokens);
      }
      before.dispose();
    }
    return { tokens, grid };
  });
}

function makeStages(network: VilOptions): Layer[][] {
  const blocks = network.stages.reduce((sum, { depth }) => sum + depth, 0);
  let block = 0;
  let inDim = 3;
  let side = network.imgSize;
  let type: AttentionType = network.attentionType;
  return network.stages.map((stage, i) => {
    side = Math.floor(side / stage.patchSize);
    if (side === 0) throw tooSmall(network, i);
    // A stage with s0 makes all that follow attend in full, whatever they say: checkpoints have it so.
    if (!stage.sparse) type = 'full';
    const grid = [side, side] as const;
    const entrance = new PatchEmbed({
      inDim,
      dim: stage.dim,
      patchSize: stage.patchSize,
      globals: stage.globals,
      grid,
      absolutePositions: stage.absolutePositions,
      normEps: network.normEmbed ? network.normEps : null,
      dropRate: network.dropRate,
    });
    inDim = stage.dim;
    return [entrance, ...Array.from({ length: stage.depth }, () => makeBlock(stage, grid)).flat()];
  });

  function makeBlock(stage: StageSpec, grid: Grid): [AttentionBlock, MlpBlock] {
    const dropPath = blocks > 1 ? (network.dropPathRate * block++) / (blocks - 1) : 0;
    const options = { ...network, ...stage, grid, relative: !stage.absolutePositions };
    return [new AttentionBlock(type, options, network, dropPath), new MlpBlock(stage.dim, network, dropPath)];
  }
}

function tooSmall({ stages, imgSize }: VilOptions, at: number): UserError {
  const patches = stages.slice(0, at + 1).map(({ patchSize }) => patchSize);
  return new UserError(
    'config',
    `MODEL.SPEC.MSVIT.ARCH, stage ${at + 1}: pictures of ${imgSize} pixels leave no token after patches of ` +
      `${patches.join(', ')} (p). Give at least ${patches.reduce((a, b) => a * b, 1)} pixels, or smaller patches.`,
  );
}
