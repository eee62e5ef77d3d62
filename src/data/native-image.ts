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
  imageBrightness(pixels: Uint8Array, factor: number): void;
  imageContrast(pixels: Uint8Array, factor: number): void;
  imageSaturation(pixels: Uint8Array, factor: number): void;
  imageHue(pixels: Uint8Array, turn: number): void;
  imageGray(pixels: Uint8Array): void;
  imageSolarize(pixels: Uint8Array, threshold: number): void;
  imageBlur(pixels: Uint8Array, width: number, height: number, radius: number): void;
}

export const JOB_FIELDS = 13;

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

/** Pillow-exact steps. Those on pixels alone work in place. */
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
