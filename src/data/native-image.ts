/** The picture functions of the addon; unlike the torch room, cheap to load in every worker thread. */

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { messageOf, UserError } from '../errors.js';

export const FILTER = { box: 0, bilinear: 1, bicubic: 2, lanczos: 3 } as const;

/** Decoded picture: rows of width*3 bytes, RGB. */
export interface Picture {
  data: Uint8Array;
  width: number;
  height: number;
}

interface NativeImage {
  /** See native/resample.h; each job has `JOB_FIELDS` numbers, the last is the offset in `target`. */
  imageResample(
    pixels: Uint8Array,
    width: number,
    height: number,
    jobs: Float64Array,
    target: Uint8Array,
  ): void;
  /** Changes pixels in place; each job has `COLOUR_FIELDS` numbers, the first is the offset in `pixels`. */
  imagePhotometric(pixels: Uint8Array, jobs: Float64Array): void;
  /** Steps of `retouch.ts`, in place and in order; each job has `RETOUCH_FIELDS` numbers. */
  imageRetouch(pixels: Uint8Array, jobs: Float64Array): void;
}

export const JOB_FIELDS = 13;
export const COLOUR_FIELDS = 14;

function load(): NativeImage {
  const path = fileURLToPath(new URL('../../build/Release/esvit.node', import.meta.url));
  try {
    return createRequire(import.meta.url)(path) as NativeImage;
  } catch (error) {
    throw new UserError(
      'environment',
      `the native addon cannot be loaded (${messageOf(error)}). Run \`npm run setup\` in the folder of esvit.`,
      { cause: error },
    );
  }
}

/** Pillow-exact steps. */
export const nativeImage: NativeImage = load();

/** Numbers of one resize job, in the order that the addon expects. */
export interface ResampleJob {
  left: number;
  top: number;
  width: number;
  height: number;
  /** size of the whole box when resized; of it the window is kept (outside: black) */
  fullWidth: number;
  fullHeight: number;
  windowX: number;
  windowY: number;
  windowWidth: number;
  windowHeight: number;
  flip: boolean;
  filter: number;
  /** in bytes */
  offset: number;
}

/** Writes `job` as job number `position` of `jobs`. */
export function writeJob(jobs: Float64Array, position: number, job: ResampleJob): void {
  const at = position * JOB_FIELDS;
  jobs[at] = job.left;
  jobs[at + 1] = job.top;
  jobs[at + 2] = job.width;
  jobs[at + 3] = job.height;
  jobs[at + 4] = job.fullWidth;
  jobs[at + 5] = job.fullHeight;
  jobs[at + 6] = job.windowX;
  jobs[at + 7] = job.windowY;
  jobs[at + 8] = job.windowWidth;
  jobs[at + 9] = job.windowHeight;
  jobs[at + 10] = job.flip ? 1 : 0;
  jobs[at + 11] = job.filter;
  jobs[at + 12] = job.offset;
}

/** Makes one picture by one job. -> uint8 [windowHeight * windowWidth * 3] */
export function resampleOne(picture: Picture, job: Omit<ResampleJob, 'offset'>): Uint8Array {
  const target = new Uint8Array(job.windowWidth * job.windowHeight * 3);
  const jobs = new Float64Array(JOB_FIELDS);
  writeJob(jobs, 0, { ...job, offset: 0 });
  nativeImage.imageResample(picture.data, picture.width, picture.height, jobs, target);
  return target;
}

/** Colour changes of one picture, in the order in which they happen; NaN or absent: not at all. */
export interface ColourChanges {
  /** the order of the jitter steps: 0 brightness, 1 contrast, 2 saturation, 3 hue */
  order?: ArrayLike<number>;
  brightness?: number;
  contrast?: number;
  saturation?: number;
  /** in turns, -0.5..0.5 */
  hue?: number;
  gray?: boolean;
  /** standard deviation of the Gaussian in pixels */
  blurRadius?: number;
  /** values from here on are inverted */
  solarize?: number;
}

const IN_ORDER = [0, 1, 2, 3];

/** Writes what happens to the picture at `offset` as job number `position` of `jobs`. */
export function writeColours(
  jobs: Float64Array,
  position: number,
  place: { offset: number; width: number; height: number },
  changes: ColourChanges,
): void {
  const at = position * COLOUR_FIELDS;
  const { order = IN_ORDER } = changes;
  jobs[at] = place.offset;
  jobs[at + 1] = place.width;
  jobs[at + 2] = place.height;
  for (let i = 0; i < 4; i++) jobs[at + 3 + i] = order[i];
  jobs[at + 7] = changes.brightness ?? Number.NaN;
  jobs[at + 8] = changes.contrast ?? Number.NaN;
  jobs[at + 9] = changes.saturation ?? Number.NaN;
  jobs[at + 10] = changes.hue ?? Number.NaN;
  jobs[at + 11] = changes.gray ? 1 : 0;
  jobs[at + 12] = changes.blurRadius ?? Number.NaN;
  jobs[at + 13] = changes.solarize ?? Number.NaN;
}

/** Changes the colours of one picture in place. */
export function changeColours({ data, width, height }: Picture, changes: ColourChanges): void {
  const jobs = new Float64Array(COLOUR_FIELDS);
  writeColours(jobs, 0, { offset: 0, width, height }, changes);
  nativeImage.imagePhotometric(data, jobs);
}
