/** Swin weights under the names of other worlds: the original's, timm's, and those of Hugging Face's `SwinModel`. */

import { UserError } from '../../errors.js';
import { cat, noGrad, type Tensor } from '../../torch/index.js';
import { relativePositionIndex } from '../layers/windows.js';
import { isSwin, type SwinLayout, swinLayout, swinNames } from './swin-layout.js';

type State = ReadonlyMap<string, Tensor>;

export interface Renamed {
  state: Map<string, Tensor>;
  /** names that have no place there */
  dropped: string[];
}

/** Parts of a block: the original's name, Hugging Face's. */
const BLOCK: readonly (readonly [string, string])[] = [
  ['norm1', 'layernorm_before'],
  ['attn.relative_position_bias_table', 'attention.self.relative_position_bias_table'],
  ['attn.relative_position_index', 'attention.self.relative_position_index'],
  ['attn.proj', 'attention.output.dense'],
  ['norm2', 'layernorm_after'],
  ['mlp.fc1', 'intermediate.dense'],
  ['mlp.fc2', 'output.dense'],
];

/** Parts outside of blocks. */
const OUTSIDE: readonly (readonly [string, string])[] = [
  ['patch_embed.proj', 'embeddings.patch_embeddings.projection'],
  ['patch_embed.norm', 'embeddings.norm'],
  ['norm', 'layernorm'],
];

const QKV = ['query', 'key', 'value'] as const;

/** Whether the names are those of `SwinModel`, or of a model that has one inside. */
export function isHuggingFaceSwin(state: State): boolean {
  return [...state.keys()].some((name) =>
    /^(swin\.)?encoder\.layers\.0\.blocks\.0\.attention\.self\.query\.weight$/.test(name),
  );
}

/** Whether the names are those of timm 0.9 and newer, where a merging of patches belongs to the stage after it. */
export function isTimmSwin(state: State): boolean {
  return (
    isSwin(state) &&
    !state.has('layers.0.downsample.reduction.weight') &&
    state.has('layers.1.downsample.reduction.weight')
  );
}

/** Hugging Face's name of the original's; undefined where there is none. `qkv` has three, see `toHuggingFace`. */
function huggingFaceName(name: string): string | undefined {
  const [, block, rest] = /^(layers\.\d+\.blocks\.\d+\.)(.*)$/.exec(name) ?? [];
  if (block !== undefined) {
    const found = BLOCK.find(([own]) => rest === own || rest.startsWith(`${own}.`));
    return found && `encoder.${block}${found[1]}${rest.slice(found[0].length)}`;
  }
  if (/^layers\.\d+\.downsample\./.test(name)) return `encoder.${name}`;
  const found = OUTSIDE.find(([own]) => name.startsWith(`${own}.`));
  return found && found[1] + name.slice(found[0].length);
}

/** The original's names to Hugging Face's; the joint map of queries, keys and values becomes three. */
export function toHuggingFace(given: State, source: string): Map<string, Tensor> {
  const layout = swinLayout(given, source);
  const lacks = (what: string) =>
    new UserError('checkpoint', `${source} cannot be a SwinModel of Hugging Face: ${what}.`);
  if (layout.absolutePositions) throw lacks('its absolute positions have no use there that works');
  if (!layout.patchNorm) throw lacks('it has no norm after the patches');
  if (new Set(layout.windowSizes).size > 1)
    throw lacks(`its stages have windows of ${layout.windowSizes.join(', ')}, expected one size for all`);
  const state = new Map<string, Tensor>();
  for (const [name, tensor] of complete(given, layout)) {
    const [, block, kind] = /^(layers\.\d+\.blocks\.\d+\.)attn\.qkv\.(weight|bias)$/.exec(name) ?? [];
    if (block !== undefined) {
      const width = tensor.shape[0] / 3;
      for (const [i, part] of QKV.entries())
        state.set(
          `encoder.${block}attention.self.${part}.${kind}`,
          noGrad(() => tensor.narrow(0, i * width, width).clone()),
        );
    } else {
      state.set(huggingFaceName(name) as string, tensor);
    }
  }
  return state;
}

/** Hugging Face's names to the original's. */
export function fromHuggingFace(given: State, source: string): Renamed {
  const bare = new Map([...given].map(([name, tensor]) => [name.replace(/^swin\./, ''), tensor]));
  if (bare.has('embeddings.position_embeddings'))
    throw new UserError(
      'checkpoint',
      `${source} has absolute positions, which this conversion does not know.`,
    );
  const back = new Map<string, string>();
  for (const name of bare.keys()) {
    const own = originalName(name);
    if (own !== undefined) back.set(own, name);
  }
  const state = new Map<string, Tensor>();
  const used = new Set<string>();
  for (const [own, name] of back) {
    const [, before, , kind] = /^(.*\.attention\.self\.)(query|key|value)\.(weight|bias)$/.exec(name) ?? [];
    const names = before === undefined ? [name] : QKV.map((part) => `${before}${part}.${kind}`);
    const parts = names.map((each) => {
      const found = bare.get(each);
      if (found === undefined) throw new UserError('checkpoint', `${source} lacks ${each}.`);
      used.add(each);
      return found;
    });
    state.set(own, parts.length === 1 ? parts[0] : noGrad(() => cat(parts, 0)));
  }
  const layout = swinLayout(state, source);
  return { state: complete(state, layout), dropped: [...bare.keys()].filter((name) => !used.has(name)) };
}

/** The original's name of Hugging Face's; undefined where there is none. */
function originalName(name: string): string | undefined {
  const [, block, rest] = /^encoder\.(layers\.\d+\.blocks\.\d+\.)(.*)$/.exec(name) ?? [];
  if (block !== undefined) {
    const qkv = /^attention\.self\.(?:query|key|value)\.(weight|bias)$/.exec(rest);
    if (qkv !== null) return `${block}attn.qkv.${qkv[1]}`;
    const found = BLOCK.find(([, theirs]) => rest === theirs || rest.startsWith(`${theirs}.`));
    return found && block + found[0] + rest.slice(found[1].length);
  }
  if (/^encoder\.layers\.\d+\.downsample\./.test(name)) return name.slice('encoder.'.length);
  const found = OUTSIDE.find(([, theirs]) => name.startsWith(`${theirs}.`));
  return found && found[0] + name.slice(found[1].length);
}

/** The original's names to those of timm 0.9 and newer, which makes the indices of positions anew. */
export function toTimmSwin(given: State, source: string): Map<string, Tensor> {
  const layout = swinLayout(given, source);
  const state = new Map<string, Tensor>();
  for (const [name, tensor] of complete(given, layout)) {
    if (name.endsWith('.relative_position_index')) continue;
    state.set(moved(name, 1), tensor);
  }
  return state;
}

/** The names of a Swin of any age of timm or of the original, to the original's; heads and masks are left. */
export function fromTimmSwin(given: State, source: string): Renamed {
  const by = isTimmSwin(given) ? -1 : 0;
  const renamed = new Map([...given].map(([name, tensor]) => [moved(name, by), tensor]));
  const layout = swinLayout(renamed, source);
  const state = complete(renamed, layout);
  return { state, dropped: [...renamed.keys()].filter((name) => !state.has(name)) };
}

function moved(name: string, by: number): string {
  return name.replace(
    /^layers\.(\d+)\.downsample\./,
    (_, stage) => `layers.${Number(stage) + by}.downsample.`,
  );
}

/** Everything that belongs to the network, in the original's order, with indices of positions where they were left out. */
function complete(state: State, layout: SwinLayout): Map<string, Tensor> {
  return new Map(
    swinNames(layout).map((name) => {
      const stage = /^layers\.(\d+)\..*\.relative_position_index$/.exec(name)?.[1];
      const tensor = state.get(name);
      if (tensor !== undefined) return [name, tensor];
      return [name, relativePositionIndex(layout.windowSizes[Number(stage)])];
    }),
  );
}
