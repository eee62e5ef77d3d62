/** The entrance of a stage: patches to tokens, global tokens in front, absolute positions on top. */

import { drop, fanInUniform, LayerNorm, Module, Parameter, truncatedNormal } from '../../nn/index.js';
import { cat, empty, linear, scope, type Tensor, zeros } from '../../torch/index.js';
import { resizePositions } from '../layers/position.js';
import type { Grid } from './options.js';

/** A convolution whose stride is its kernel, for maps with their channels last. */
class PatchProjection extends Module {
  /** [dim, inDim, patch, patch] */
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(
    private readonly inDim: number,
    dim: number,
    private readonly patchSize: number,
  ) {
    super();
    const fanIn = inDim * patchSize * patchSize;
    this.weight = new Parameter(fanInUniform(empty([dim, inDim, patchSize, patchSize]), fanIn));
    this.bias = new Parameter(fanInUniform(empty([dim]), fanIn));
  }

  /** x: [B, H, W, inDim] -> [B, H/patch, W/patch, dim]; a remainder at the right and bottom is cut off */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const { patchSize: p, inDim } = this;
      const [batch, height, width] = x.sizes(4);
      const [rows, columns] = [Math.floor(height / p), Math.floor(width / p)];
      const patches = x
        .narrow(1, 0, rows * p)
        .narrow(2, 0, columns * p)
        .reshape([batch, rows, p, columns, p, inDim])
        .permute([0, 1, 3, 5, 2, 4])
        .reshape([batch, rows * columns, inDim * p * p]);
      return linear(patches, this.weight.flatten(1), this.bias).view([batch, rows, columns, -1]);
    });
  }
}

export interface PatchEmbedOptions {
  inDim: number;
  dim: number;
  patchSize: number;
  globals: number;
  /** tokens at the size of construction */
  grid: Grid;
  absolutePositions: boolean;
  /** eps of a LayerNorm after the projection, or null for none */
  normEps: number | null;
  dropRate: number;
}

export class PatchEmbed extends Module {
  /** [1, globals, dim] */
  readonly clsToken: Parameter | null;
  /** [1, globals, dim], empty where there are no global tokens */
  readonly clsPosEmbed: Parameter | null = null;
  /** [1, rows, dim / 2] */
  readonly xPosEmbed: Parameter | null = null;
  /** [1, columns, dim / 2] */
  readonly yPosEmbed: Parameter | null = null;
  readonly proj: PatchProjection;
  readonly normEmbed: LayerNorm | null;

  constructor(private readonly options: PatchEmbedOptions) {
    super();
    const { inDim, dim, patchSize, globals, grid, absolutePositions, normEps } = options;
    const drawn = (shape: readonly number[]) => new Parameter(truncatedNormal(zeros(shape), 0.02));
    this.clsToken = globals > 0 ? drawn([1, globals, dim]) : null;
    if (absolutePositions) {
      this.clsPosEmbed = drawn([1, globals, dim]);
      this.xPosEmbed = drawn([1, grid[0], dim / 2]);
      this.yPosEmbed = drawn([1, grid[1], dim / 2]);
    }
    this.proj = new PatchProjection(inDim, dim, patchSize);
    this.normEmbed = normEps === null ? null : new LayerNorm(dim, normEps);
  }

  /** x: [B, H, W, inDim] -> tokens [B, globals + rows * columns, dim] */
  forward(x: Tensor): { tokens: Tensor; grid: Grid } {
    return scope(() => {
      const map = this.proj.forward(x);
      const [batch, rows, columns, dim] = map.sizes(4);
      const grid = [rows, columns] as const;
      const flat = map.view([batch, rows * columns, dim]);
      const locals = this.normEmbed === null ? flat : this.normEmbed.forward(flat);
      const tokens =
        this.clsToken === null ? locals : cat([this.clsToken.expand([batch, -1, -1]), locals], 1);
      const positions = this.positions(grid);
      const placed = positions === null ? tokens : tokens.add(positions);
      return { tokens: drop(placed, this.options.dropRate, this.training), grid };
    });
  }

  /** [1, globals + rows * columns, dim] */
  private positions(grid: Grid): Tensor | null {
    const { clsPosEmbed, xPosEmbed, yPosEmbed } = this;
    if (clsPosEmbed === null || xPosEmbed === null || yPosEmbed === null) return null;
    return scope(() => {
      const { grid: made, globals, dim } = this.options;
      const own = cat(
        [
          xPosEmbed.unsqueeze(2).expand([-1, -1, made[1], -1]),
          yPosEmbed.unsqueeze(1).expand([-1, made[0], -1, -1]),
        ],
        -1,
      ).view([1, made[0] * made[1], dim]);
      const same = grid[0] === made[0] && grid[1] === made[1];
      const locals =
        same && globals === 0 ? own : resizePositions(own, made, grid, samplingScale(made, grid, globals));
      return cat([clsPosEmbed, locals], 1);
    });
  }
}

/**
 * The original takes the ratio of the numbers of tokens for its scale, counts the global ones with them on one side,
 * and so resamples at the size of construction too. Where that would not give the wanted size (it fails there),
 * the scale is that of the sizes.
 */
function samplingScale(from: Grid, to: Grid, globals: number): [number, number] {
  const excess = Math.sqrt(1 + globals / (to[0] * to[1]));
  const scales = from.map((size, i) => (to[i] / size) * excess) as [number, number];
  const fits = from.every((size, i) => Math.floor(size * scales[i]) === to[i]);
  return fits ? scales : [to[0] / from[0], to[1] / from[1]];
}
