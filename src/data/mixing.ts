/**
 * Mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899) of the crops of a
 * batch: picture i is mixed with picture B-1-i, its partner.
 */

import { scope, type Tensor, tensor } from '../torch/index.js';
import type { Box } from './crop-draws.js';
import type { Range } from './crop-plan.js';
import { symmetricBeta } from './distributions.js';
import { PURPOSE, RandomStream } from './random.js';

export interface MixingPolicy {
  /** of the beta distribution of mixup's ratio; 0: no mixup */
  mixup: number;
  /** of cutmix's ratio; 0: no cutmix */
  cutmix: number;
  /** least and greatest side of cutmix's box as a share of the crop's, in place of its alpha */
  cutmixMinmax?: Range;
  /** that anything is mixed */
  probability: number;
  /** of cutmix, where both are on */
  switchProbability: number;
  /** what shares one draw: all pictures, a picture and its partner, or none */
  mode: 'batch' | 'pair' | 'elem';
  /** the first so many views are mixed, each on its own */
  views: number;
}

/** What became of one picture in one view. */
export interface MixedPicture {
  /** how much of the crop is its own picture; the rest is the partner's */
  own: number;
  /** cutmix: where the partner shows; absent: everywhere, faintly */
  box?: Box;
}

const WHOLE: MixedPicture = { own: 1 };

/** Whether the policy can mix at all. */
export function mixes({ mixup, cutmix, cutmixMinmax, views, probability }: MixingPolicy): boolean {
  return (mixup > 0 || cutmix > 0 || cutmixMinmax !== undefined) && views > 0 && probability > 0;
}

/** The draws of one view of a batch, which follow from (seed, epoch, first picture of the batch, view). */
export function drawMixing(
  key: { seed: number; epoch: number; index: number; view: number },
  policy: MixingPolicy,
  batch: number,
  size: number,
): MixedPicture[] {
  const random = new RandomStream().key(key.seed, key.epoch, key.index, PURPOSE.mixing + key.view);
  const draw = () => drawOne(random, policy, size);
  if (policy.mode === 'batch') return Array<MixedPicture>(batch).fill(draw());
  const pictures = Array<MixedPicture>(batch).fill(WHOLE);
  for (let i = 0; i < batch; i++) {
    const partner = batch - 1 - i;
    if (partner === i) continue; // mixed with itself it stays what it is
    if (policy.mode === 'elem') pictures[i] = draw();
    else pictures[i] = i < partner ? draw() : pictures[partner];
  }
  return pictures;
}

function drawOne(random: RandomStream, policy: MixingPolicy, size: number): MixedPicture {
  const { mixup, cutmixMinmax, probability, switchProbability } = policy;
  const cutmix = cutmixMinmax === undefined ? policy.cutmix : 1;
  const cuts = mixup > 0 && cutmix > 0 ? random.chance(switchProbability) : cutmix > 0;
  const own = symmetricBeta(random, cuts ? cutmix : mixup);
  if (!random.chance(probability)) return WHOLE;
  if (!cuts) return { own };
  const box =
    cutmixMinmax === undefined ? boxOfArea(random, 1 - own, size) : boxBetween(random, cutmixMinmax, size);
  const area = box.height * box.width;
  return area === 0 ? WHOLE : { own: 1 - area / (size * size), box };
}

/** A square of this share of the area around a random point, cut at the crop's border. */
function boxOfArea(random: RandomStream, share: number, size: number): Box {
  const half = Math.floor(Math.trunc(size * Math.sqrt(share)) / 2);
  const span = () => {
    const middle = random.integer(size);
    return [Math.max(0, middle - half), Math.min(size, middle + half)] as const;
  };
  const [top, bottom] = span();
  const [left, right] = span();
  return { top, left, height: bottom - top, width: right - left };
}

function boxBetween(random: RandomStream, [low, high]: Range, size: number): Box {
  const least = Math.trunc(size * low);
  const side = () => least + random.integer(Math.max(1, Math.trunc(size * high) - least));
  const [height, width] = [side(), side()];
  const top = random.integer(size - height + 1);
  return { top, left: random.integer(size - width + 1), height, width };
}

/** x: [B, 3, s, s] of one view -> the same, mixed; x stays as it is */
export function mixPictures(x: Tensor, pictures: readonly MixedPicture[]): Tensor {
  return scope(() => {
    const partners = x.flip([0]);
    const blends = pictures.map(({ own, box }) => (box === undefined ? own : 1));
    const share = tensor(Float32Array.from(blends), { device: x.device }).view([pictures.length, 1, 1, 1]);
    const mixed = blends.every((own) => own === 1)
      ? x.clone()
      : x.mul(share).add_(partners.mul(share.neg().add_(1)));
    const inside = (y: Tensor, { top, left, height, width }: Box) =>
      y.narrow(2, top, height).narrow(3, left, width);
    const [first] = pictures;
    if (first?.box !== undefined && pictures.every((picture) => picture === first)) {
      inside(mixed, first.box).copy_(inside(partners, first.box));
      return mixed;
    }
    for (const [i, { box }] of pictures.entries())
      if (box !== undefined) inside(mixed.narrow(0, i, 1), box).copy_(inside(partners.narrow(0, i, 1), box));
    return mixed;
  });
}
