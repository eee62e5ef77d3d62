/** What the names and shapes of a Swin's weights say about it, and the order in which its state dict lists them. */

import { UserError } from '../../errors.js';
import type { Tensor } from '../../torch/index.js';

type State = ReadonlyMap<string, Tensor>;

export interface SwinLayout {
  patchSize: number;
  inChannels: number;
  embedDim: number;
  depths: number[];
  numHeads: number[];
  /** side of the windows of each stage */
  windowSizes: number[];
  /** hidden width of the MLPs, in widths of the stage */
  mlpRatio: number;
  qkvBias: boolean;
  patchNorm: boolean;
  absolutePositions: boolean;
}

const BLOCK_PARTS = [
  'norm1.weight',
  'norm1.bias',
  'attn.relative_position_bias_table',
  'attn.relative_position_index',
  'attn.qkv.weight',
  'attn.qkv.bias',
  'attn.proj.weight',
  'attn.proj.bias',
  'norm2.weight',
  'norm2.bias',
  'mlp.fc1.weight',
  'mlp.fc1.bias',
  'mlp.fc2.weight',
  'mlp.fc2.bias',
] as const;

/** Whether the names are those of a Swin, the original's. */
export function isSwin(state: State): boolean {
  return (
    state.has('layers.0.blocks.0.attn.relative_position_bias_table') && state.has('patch_embed.proj.weight')
  );
}

/** Reads the layout off a state dict under the original's names. */
export function swinLayout(state: State, source: string): SwinLayout {
  const sizes = (name: string, rank: number): readonly number[] => {
    const found = state.get(name);
    if (found === undefined || found.ndim !== rank)
      throw new UserError(
        'checkpoint',
        `${source} is no whole Swin Transformer: ${name} ${found === undefined ? 'is missing' : `has shape [${found.shape.join(', ')}], expected ${rank} dimensions`}.`,
      );
    return found.shape;
  };
  const [embedDim, inChannels, patchSize] = sizes('patch_embed.proj.weight', 4);
  const layout: SwinLayout = {
    patchSize,
    inChannels,
    embedDim,
    depths: [],
    numHeads: [],
    windowSizes: [],
    mlpRatio: sizes('layers.0.blocks.0.mlp.fc1.weight', 2)[0] / embedDim,
    qkvBias: state.has('layers.0.blocks.0.attn.qkv.bias'),
    patchNorm: state.has('patch_embed.norm.weight'),
    absolutePositions: state.has('absolute_pos_embed'),
  };
  const block = (stage: number, number: number) => `layers.${stage}.blocks.${number}.`;
  for (let stage = 0; state.has(`${block(stage, 0)}norm1.weight`); stage++) {
    let depth = 0;
    while (state.has(`${block(stage, depth)}norm1.weight`)) depth++;
    const [rows, heads] = sizes(`${block(stage, 0)}attn.relative_position_bias_table`, 2);
    const window = (Math.sqrt(rows) + 1) / 2;
    if (!Number.isInteger(window))
      throw new UserError(
        'checkpoint',
        `${source} has a bias table of ${rows} rows, which no square window has.`,
      );
    layout.depths.push(depth);
    layout.numHeads.push(heads);
    layout.windowSizes.push(window);
  }
  const complete = swinNames(layout).find((name) => !state.has(name) && !name.endsWith('position_index'));
  if (complete !== undefined)
    throw new UserError('checkpoint', `${source} is no whole Swin Transformer: ${complete} is missing.`);
  return layout;
}

/** All names of the original's state dict, in its order. */
export function swinNames(layout: SwinLayout): string[] {
  const { depths, qkvBias, patchNorm, absolutePositions } = layout;
  const norm = (name: string) => [`${name}.weight`, `${name}.bias`];
  return [
    ...(absolutePositions ? ['absolute_pos_embed'] : []),
    ...norm('patch_embed.proj'),
    ...(patchNorm ? norm('patch_embed.norm') : []),
    ...depths.flatMap((depth, stage) => [
      ...Array.from({ length: depth }, (_, number) =>
        BLOCK_PARTS.filter((part) => qkvBias || part !== 'attn.qkv.bias').map(
          (part) => `layers.${stage}.blocks.${number}.${part}`,
        ),
      ).flat(),
      ...(stage < depths.length - 1
        ? [`layers.${stage}.downsample.reduction.weight`, ...norm(`layers.${stage}.downsample.norm`)]
        : []),
    ]),
    ...norm('norm'),
  ];
}
