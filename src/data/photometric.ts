/**
 * Colour jitter, grey, blur, solarise and normalisation of a whole batch on the training device. Pixels are
 * whole numbers 0..255 in float32 between the steps, with the roundings of Pillow's 8-bit arithmetic, so the
 * result equals the per-picture chain of the original.
 */

import { cat, type Device, scope, type Tensor, tensor, where } from '../torch/index.js';
import type { ErasingDraws } from './erase-draws.js';
import { erase } from './erasing.js';

/** What was drawn for each of n crops; NaN (or 0 for blur) means the step is off. */
export interface PhotometricDraws {
  /** [n*4] the order of the jitter steps of each crop: 0 brightness, 1 contrast, 2 saturation, 3 hue */
  order: Uint8Array;
  /** [n] factors; NaN = no jitter */
  brightness: Float32Array;
  contrast: Float32Array;
  saturation: Float32Array;
  /** [n] in turns, -0.5..0.5 */
  hue: Float32Array;
  /** [n] 1 = turn to grey */
  gray: Uint8Array;
  /** [n] Gaussian radius (standard deviation) in pixels; 0 = no blur */
  blurRadius: Float32Array;
  /** [n] 1 = invert the pixels of 128 and more, 2 = invert all */
  solarize: Uint8Array;
}

/** From which value on a crop is inverted, by its draw: not at all, the light half, everything. */
export const SOLARIZE_FROM = [undefined, 128, 0] as const;

export const IMAGENET_MEAN: readonly number[] = [0.485, 0.456, 0.406];
export const IMAGENET_STD: readonly number[] = [0.229, 0.224, 0.225];

/** crops: uint8 [n, h, w, 3] -> float32 [n, 3, h, w], whole numbers 0..255 */
export function toPlanes(crops: Tensor, device: Device = crops.device): Tensor {
  // Not waiting for the GPU is safe: the memory of the crops is read before the call returns.
  return scope(() =>
    crops.to({ device, nonBlocking: true }).permute([0, 3, 1, 2]).to({ dtype: 'float32' }).contiguous(),
  );
}

/** pixels: [n, 3, h, w] of 0..255 -> (pixels/255 - mean)/std */
export function normalise(pixels: Tensor): Tensor {
  return scope(() => {
    const channel = (values: readonly number[]) =>
      tensor(values, { device: pixels.device }).view([1, 3, 1, 1]);
    return pixels.div(255).sub_(channel(IMAGENET_MEAN)).div_(channel(IMAGENET_STD));
  });
}

/** Draws for n crops with every step off. */
export function noChanges(n: number): PhotometricDraws {
  const off = () => new Float32Array(n).fill(Number.NaN);
  return {
    order: new Uint8Array(n * 4),
    brightness: off(),
    contrast: off(),
    saturation: off(),
    hue: off(),
    gray: new Uint8Array(n),
    blurRadius: new Float32Array(n),
    solarize: new Uint8Array(n),
  };
}

/** Crops of a batch as a network takes them, on `device`: float32 [n, 3, h, w]. */
export function networkInput(
  { crops, draws, erasing }: { crops: Tensor; draws: PhotometricDraws; erasing?: ErasingDraws },
  device: Device = crops.device,
): Tensor {
  return scope(() => {
    const x = normalise(applyPhotometric(toPlanes(crops, device), draws));
    if (erasing !== undefined) erase(x, erasing);
    return x;
  });
}

/** pixels: [n, 3, h, w] of 0..255 -> the same, after each crop's own jitter, grey, blur and solarise */
export function applyPhotometric(pixels: Tensor, draws: PhotometricDraws): Tensor {
  return scope(() => {
    const n = pixels.shape[0];
    let x = pixels;
    const rowsWhere = (test: (row: number) => boolean) => {
      const rows: number[] = [];
      for (let row = 0; row < n; row++) if (test(row)) rows.push(row);
      return rows;
    };
    const apply = (rows: number[], step: (part: Tensor) => Tensor) => {
      if (rows.length === n) x = step(x);
      else if (rows.length > 0) x = replaceRows(x, rows, step);
    };
    const factors = [draws.brightness, draws.contrast, draws.saturation, draws.hue];
    const steps = [adjustBrightness, adjustContrast, adjustSaturation, adjustHue];
    for (let turn = 0; turn < 4; turn++) {
      for (let kind = 0; kind < 4; kind++) {
        const values = factors[kind];
        const rows = rowsWhere((row) => draws.order[row * 4 + turn] === kind && !Number.isNaN(values[row]));
        apply(rows, (part) =>
          steps[kind](
            part,
            rows.map((row) => values[row]),
          ),
        );
      }
    }
    apply(
      rowsWhere((row) => draws.gray[row] === 1),
      toGray,
    );
    const blurred = rowsWhere((row) => draws.blurRadius[row] > 0);
    apply(blurred, (part) =>
      gaussianBlur(
        part,
        blurred.map((row) => draws.blurRadius[row]),
      ),
    );
    for (const [kind, threshold] of SOLARIZE_FROM.entries())
      if (threshold !== undefined)
        apply(
          rowsWhere((row) => draws.solarize[row] === kind),
          (part) => solarize(part, threshold),
        );
    return x;
  });
}

function replaceRows(x: Tensor, rows: number[], step: (part: Tensor) => Tensor): Tensor {
  return scope(() => {
    const index = tensor(BigInt64Array.from(rows, BigInt), { device: x.device });
    const changed = step(x.indexSelect(0, index));
    return x.clone().indexPut_([index], changed);
  });
}

/** One factor a crop, as [n, 1, 1, 1]. */
function column(x: Tensor, values: readonly number[]): Tensor {
  return tensor(Float32Array.from(values), { device: x.device }).view([values.length, 1, 1, 1]);
}

/** Pillow's Image.blend: the cast to a byte cuts the fraction. */
function blend(from: Tensor | number, x: Tensor, factor: Tensor): Tensor {
  return x.sub(from).mul_(factor).add_(from).clamp_(0, 255).floor();
}

/** L = (19595 R + 38470 G + 7471 B + 2^15) / 2^16, exact in float32: all terms stay below 2^24. [n, 1, h, w] */
function luma(x: Tensor): Tensor {
  const [red, green, blue] = x.split(1, 1);
  return red
    .mul(19595)
    .add_(green, { alpha: 38470 })
    .add_(blue, { alpha: 7471 })
    .add_(32768)
    .div_(65536)
    .floor();
}

export function adjustBrightness(x: Tensor, factors: readonly number[]): Tensor {
  return scope(() => blend(0, x, column(x, factors)));
}

/** Towards the mean grey of the crop, rounded as Pillow's enhancer does. */
export function adjustContrast(x: Tensor, factors: readonly number[]): Tensor {
  return scope(() => {
    const mean = luma(x).to({ dtype: 'float64' }).mean([1, 2, 3], true).add_(0.5).floor();
    return blend(mean.to({ dtype: 'float32' }), x, column(x, factors));
  });
}

export function adjustSaturation(x: Tensor, factors: readonly number[]): Tensor {
  return scope(() => blend(luma(x), x, column(x, factors)));
}

/** Turns the hue by `factors` (in turns) in Pillow's 8-bit HSV. */
export function adjustHue(x: Tensor, factors: readonly number[]): Tensor {
  return scope(() => {
    const [red, green, blue] = x.split(1, 1);
    const high = x.amax([1], true);
    const range = high.sub(x.amin([1], true));
    const grey = range.eq(0);
    const safeRange = range.maskedFill(grey, 1);
    // Quotients are float32, sums and products float64, as in Pillow's C code: the cuts below need both.
    const double = (t: Tensor) => t.to({ dtype: 'float64' });
    const single = (t: Tensor) => t.to({ dtype: 'float32' });
    const fromHigh = (channel: Tensor) => double(high.sub(channel).div_(safeRange));
    const [rc, gc, bc] = [fromHigh(red), fromHigh(green), fromHigh(blue)];
    const sextant = where(
      red.eq(high),
      bc.sub(gc),
      where(green.eq(high), rc.add(2).sub_(bc), gc.add(4).sub_(rc)),
    );
    const turns = double(single(sextant)).div_(6).add_(1);
    const hue = double(single(turns.sub(turns.floor())))
      .mul_(255)
      .floor()
      .maskedFill(grey, 0);
    const saturation = double(range.div(high.clampMin(1)))
      .mul_(255)
      .floor();

    // The shift is a byte that wraps, cut towards zero like the cast that makes it.
    const shift = factors.map((factor) => (Math.trunc(factor * 255) + 256) % 256);
    const shifted = hue.add(column(x, shift)).remainder(256);

    const sector = shifted.mul(6).div_(255);
    const whole = sector.floor();
    const fraction = double(single(sector.sub(whole)));
    const strength = double(single(saturation.div(255)));
    const value = double(high);
    const level = (share: Tensor) => single(value.mul(share.neg().add_(1)).add_(0.5).floor()).clamp_(0, 255);
    const p = level(strength);
    const q = level(strength.mul(fraction));
    const t = level(strength.mul(fraction.neg().add_(1)));
    const place = whole.remainder(6);
    const pick = (options: Tensor[]): Tensor => {
      let result = options[5];
      for (let i = 4; i >= 0; i--) result = where(place.eq(i), options[i], result);
      return result;
    };
    return cat(
      [pick([high, q, p, p, t, high]), pick([t, high, high, q, p, p]), pick([p, p, t, high, high, q])],
      1,
    );
  });
}

export function toGray(x: Tensor): Tensor {
  return scope(() =>
    luma(x)
      .expand([...x.shape])
      .contiguous(),
  );
}

/** Pixels of `threshold` and more are inverted. */
export function solarize(x: Tensor, threshold = 128): Tensor {
  return scope(() => where(x.lt(threshold), x, x.neg().add_(255)));
}

/** Radius of the box whose three passes approximate a Gaussian of this radius (Gwosdek et al. 2011). */
export function boxRadius(radius: number, passes = 3): number {
  const variance = (radius * radius) / passes;
  const length = Math.floor((Math.sqrt(12 * variance + 1) - 1) / 2);
  const above = (2 * length + 1) * (length * (length + 1) - 3 * variance);
  return length + above / (6 * (variance - (length + 1) * (length + 1)));
}

/** Three box blurs along each axis, rounded to whole numbers after each, edges repeated: Pillow's GaussianBlur. */
export function gaussianBlur(x: Tensor, radii: readonly number[]): Tensor {
  return scope(() => {
    const boxes = radii.map((radius) => boxRadius(radius));
    const reach = Math.max(...boxes.map((box) => Math.floor(box) + 1));
    const fixed = boxes.map(boxWeights);
    // weights[distance]: what a pixel at that distance counts for, per crop, in units of 2^-24
    const weights = Array.from({ length: reach + 1 }, (_, distance) =>
      column(
        x,
        boxes.map((box, crop) => {
          if (distance <= Math.floor(box)) return fixed[crop].inner;
          return distance === Math.floor(box) + 1 ? fixed[crop].edge : 0;
        }),
      ).to({ dtype: 'float64' }),
    );
    let y = x.to({ dtype: 'float64' });
    for (const dim of [3, 2] as const) for (let pass = 0; pass < 3; pass++) y = boxPass(y, dim, weights);
    return y.to({ dtype: 'float32' });
  });
}

const FIXED_ONE = 2 ** 24;

/** Pillow's fixed-point weights: many sums are exact ties, so the rounding of the weights decides them. */
function boxWeights(box: number): { inner: number; edge: number } {
  const width = Math.fround(Math.fround(Math.fround(box) * 2) + 1);
  const inner = Math.trunc(Math.fround(FIXED_ONE / width));
  const edge = Math.floor((FIXED_ONE - (2 * Math.floor(box) + 1) * inner) / 2);
  return { inner, edge };
}

/** x: [n, c, h, w] in float64, where products with the fixed-point weights are exact */
function boxPass(x: Tensor, dim: 2 | 3, weights: readonly Tensor[]): Tensor {
  return scope(() => {
    const reach = weights.length - 1;
    const length = x.shape[dim];
    const padded = x.pad(dim === 3 ? [reach, reach, 0, 0] : [0, 0, reach, reach], 'replicate');
    const shifted = (offset: number) => padded.narrow(dim, reach + offset, length);
    const sum = x.mul(weights[0]);
    for (let distance = 1; distance <= reach; distance++)
      sum.addcmul_(shifted(distance).add(shifted(-distance)), weights[distance]);
    return sum
      .add_(FIXED_ONE / 2)
      .div_(FIXED_ONE)
      .floor();
  });
}
