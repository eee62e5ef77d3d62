/** Golden kinds `aug_op`, `aug_chain`, `aug_eval`: steps on pictures against the bytes that Pillow gave. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
  type ColourChanges,
  changeColours,
  cropJob,
  decode,
  evaluationJob,
  gaussianBlur,
  normalise,
  type Picture,
  type ResampleJob,
  resampleOne,
  solarize,
  toGray,
  toPlanes,
} from '../data/index.js';
import { type Device, scope, type Tensor, tensor } from '../torch/index.js';
import { type Check, compareTensors, failed, type GoldenCase, tensorsOf } from './case.js';
import { checkLevels, isRetouch, RETOUCH_ARGUMENTS, retouchedAs } from './retouch-steps.js';

export { runAugRrc } from './random-boxes.js';

type Step = readonly [op: string, ...args: number[]];

/** What a resize of a picture is called, and the job it stands for. */
const RESIZES: Readonly<
  Record<string, (picture: Picture, args: readonly number[]) => Omit<ResampleJob, 'offset'>>
> = {
  resized_crop: (_, [top, left, height, width, size]) =>
    cropJob({ top, left, height, width }, size, false, 0),
  hflip: ({ width, height }) => ({
    ...cropJob({ top: 0, left: 0, height, width }, width, true, 0),
    fullHeight: height,
    windowHeight: height,
  }),
  resize256_centercrop224: ({ width, height }) => evaluationJob(height, width, { resize: 256, size: 224 }, 0),
};

/** Each colour step stands twice in the project: for tensors on any device, and for bytes in worker threads. */
const COLOURS: Readonly<
  Record<
    string,
    {
      planes(x: Tensor, factor: number): Tensor;
      bytes(factor: number): ColourChanges;
      fallback?: number;
    }
  >
> = {
  brightness: {
    planes: (x, factor) => adjustBrightness(x, [factor]),
    bytes: (factor) => ({ brightness: factor }),
  },
  contrast: {
    planes: (x, factor) => adjustContrast(x, [factor]),
    bytes: (factor) => ({ contrast: factor }),
  },
  saturation: {
    planes: (x, factor) => adjustSaturation(x, [factor]),
    bytes: (factor) => ({ saturation: factor }),
  },
  hue: {
    planes: (x, turn) => adjustHue(x, [turn]),
    bytes: (turn) => ({ hue: turn }),
  },
  grayscale: {
    planes: (x) => toGray(x),
    bytes: () => ({ gray: true }),
  },
  gaussian_blur: {
    planes: (x, radius) => gaussianBlur(x, [radius]),
    bytes: (radius) => ({ blurRadius: radius }),
  },
  solarize: {
    planes: (x, threshold) => solarize(x, threshold),
    bytes: (threshold) => ({ solarize: threshold }),
    fallback: 128,
  },
};
/** Other names of the same steps. */
const ALIASES: Readonly<Record<string, string>> = { color: 'saturation' };

/** The order of an op's named arguments. */
const ARGUMENTS: readonly string[] = [
  'top',
  'left',
  'height',
  'width',
  'size',
  'factor',
  'radius',
  ...RETOUCH_ARGUMENTS,
  'threshold',
  'thresh',
];

/** The picture after `steps`, once by tensors and once by bytes; what tensors do not do is done by bytes for both. */
function follow(
  start: Picture,
  steps: readonly Step[],
  device: Device,
  golden: GoldenCase,
): { planes: Tensor; bytes: Picture } {
  let bytes: Picture = { ...start, data: start.data.slice() };
  let planes = planesOf(bytes, device);
  for (const [name, ...args] of steps) {
    const op = ALIASES[name] ?? name;
    const resize = RESIZES[op];
    const colour = COLOURS[op];
    if (resize !== undefined) {
      const job = resize(bytes, args);
      bytes = { data: resampleOne(bytes, job), width: job.windowWidth, height: job.windowHeight };
      planes = planesOf(bytes, device);
    } else if (colour === undefined) {
      bytes = retouchedAs(name, args, bytes, golden) ?? bytes;
      planes = planesOf(bytes, device);
    } else {
      const factor = args[0] ?? colour.fallback ?? 0;
      planes = colour.planes(planes, factor);
      changeColours(bytes, colour.bytes(factor));
    }
  }
  return { planes, bytes };
}

/** -> float32 [1, 3, h, w] */
function planesOf({ data, width, height }: Picture, device: Device): Tensor {
  return toPlanes(tensor(data).view([1, height, width, 3]), device);
}

function isStep(name: string): boolean {
  return name in RESIZES || name in COLOURS || name in ALIASES || isRetouch(name);
}

/** uint8 [h, w, 3] */
function pictureOf(stored: Map<string, Tensor>, name: string): Picture {
  const photo = stored.get(name);
  if (photo === undefined) throw new Error(`the golden file lacks the picture '${name}'`);
  const [height, width] = photo.sizes(3);
  return { data: photo.bytes().slice(), width, height };
}

const byteTolerance = z.looseObject({ max_abs: z.number(), mean_abs: z.number().optional() });
type ByteTolerance = z.output<typeof byteTolerance>;

/** Largest and mean deviation of both forms of a picture from the stored bytes. */
function* comparePictures(
  name: string,
  mine: { planes: Tensor; bytes: Picture },
  golden: Tensor | undefined,
  tolerance: ByteTolerance,
): Generator<Check> {
  const planes = mine.planes.squeeze(0).permute([1, 2, 0]).contiguous();
  yield* compareBytes(`${name} (tensors)`, planes.toFloat32(), golden, tolerance);
  yield* compareBytes(`${name} (bytes)`, mine.bytes.data, golden, tolerance);
}

function* compareBytes(
  name: string,
  values: Float32Array | Uint8Array,
  golden: Tensor | undefined,
  { max_abs: maxAbs, mean_abs: meanAbs = maxAbs }: ByteTolerance,
): Generator<Check> {
  if (golden === undefined) return yield failed(name, 'the golden file lacks this picture');
  const reference = golden.bytes();
  if (values.length !== reference.length)
    return yield failed(
      name,
      `${values.length} bytes, expected ${reference.length} (${golden.shape.join('x')})`,
    );
  let worst = 0;
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const difference = Math.abs(values[i] - reference[i]);
    worst = Math.max(worst, difference);
    sum += difference;
  }
  const mean = sum / values.length;
  yield { name, worst, tolerance: maxAbs, ok: worst <= maxAbs };
  yield { name: `${name} mean`, worst: mean, tolerance: meanAbs, ok: mean <= meanAbs };
}

const opSchema = z.looseObject({
  cases: z.array(
    z.object({
      tensor: z.string(),
      photo: z.string(),
      op: z.string(),
      args: z.record(z.string(), z.number()),
    }),
  ),
  compare: z.looseObject({ default: byteTolerance }).catchall(byteTolerance),
});

export function* runAugOp(golden: GoldenCase, folder: string): Generator<Check> {
  const { cases, compare } = opSchema.parse(golden);
  const photos = tensorsOf(golden, folder);
  const stored = tensorsOf(golden, folder, 1);
  for (const { tensor: name, photo, op, args } of cases)
    yield* scope(() => {
      const start = pictureOf(photos, photo);
      const tolerance = compare[op] ?? compare.default;
      if (op === 'normalise') {
        const planes = normalise(planesOf(start, golden.device)).squeeze(0);
        return [compareTensors(name, planes, stored.get(name), tolerance.max_abs, 0)];
      }
      if (!isStep(op)) return [failed(name, `the step '${op}' is not implemented`)];
      const unknown = Object.keys(args).find((argument) => !ARGUMENTS.includes(argument));
      if (unknown !== undefined) return [failed(name, `the step '${op}' has no argument '${unknown}'`)];
      const values = ARGUMENTS.filter((argument) => argument in args).map((argument) => args[argument]);
      const mine = follow(start, [[op, ...values]], golden.device, golden);
      const checks = [...comparePictures(name, mine, stored.get(name), tolerance)];
      // Some steps stand in both lists: the photometric ones and those of RandAugment.
      const other = retouchedAs(op, values, start, golden);
      if (other !== undefined && (op in COLOURS || op in ALIASES))
        checks.push(...compareBytes(`${name} (steps)`, other.data, stored.get(name), tolerance));
      return checks;
    });
  yield* checkLevels(golden);
}

const chainSchema = z.looseObject({
  photo: z.string(),
  chains: z.array(z.object({ tensor: z.string(), ops: z.array(z.tuple([z.string()]).rest(z.number())) })),
  compare: byteTolerance,
});

export function* runAugChain(golden: GoldenCase, folder: string): Generator<Check> {
  const { photo, chains, compare } = chainSchema.parse(golden);
  const start = pictureOf(tensorsOf(golden, folder), photo);
  const stored = tensorsOf(golden, folder, 1);
  for (const { tensor: name, ops } of chains)
    yield* scope(() => {
      const unknown = ops.find(([op]) => !isStep(op));
      if (unknown !== undefined) return [failed(name, `the step '${unknown[0]}' is not implemented`)];
      return [...comparePictures(name, follow(start, ops, golden.device, golden), stored.get(name), compare)];
    });
}

const atol = z.object({ atol: z.number() });
const evalSchema = z.looseObject({
  cases: z.array(
    z.looseObject({
      file: z.string(),
      index: z.number(),
      size: z.tuple([z.number(), z.number()]),
      resized: z.tuple([z.number(), z.number()]),
    }),
  ),
  compare: z.object({ mean: atol, std: atol, pool14: atol }),
});

const POOL = 16;

/** Decoding, resizing, cutting the middle out and normalising, from encoded files to channel statistics. */
export async function* runAugEval(golden: GoldenCase, folder: string): AsyncGenerator<Check> {
  const { cases, compare } = evalSchema.parse(golden);
  const stored = tensorsOf(golden, folder);
  for (const { file, index, size, resized } of cases) {
    const picture = await decode(readFileSync(join(folder, file)));
    const { width, height } = picture;
    const job = evaluationJob(height, width, { resize: 256, size: 224 }, 0);
    yield sameSize(`${index}.size`, [width, height], size);
    yield sameSize(`${index}.resized`, [job.fullWidth, job.fullHeight], resized);
    yield* scope(() => {
      const crop = { data: resampleOne(picture, job), width: job.windowWidth, height: job.windowHeight };
      const x = normalise(planesOf(crop, golden.device));
      const statistics = {
        mean: x.mean([0, 2, 3]),
        std: x.std([0, 2, 3]),
        pool14: x.avgPool2d(POOL).squeeze(0),
      };
      return (['mean', 'std', 'pool14'] as const).map((key) => {
        const name = `${index}.${key}`;
        return compareTensors(name, statistics[key], stored.get(name), compare[key].atol);
      });
    });
  }
}

function sameSize(name: string, mine: readonly number[], expected: readonly number[]): Check {
  const worst = Math.max(...mine.map((side, i) => Math.abs(side - expected[i])));
  return { name, worst, tolerance: 0, ok: worst === 0, detail: mine.join('x') };
}
