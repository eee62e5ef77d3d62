/** A camera on a scene: an affine map of the plane and the light; two views give exact correspondences. */

import { type Affine, applyTo, compose, IDENTITY, invert, rotation, scaling, translation } from './affine.js';
import { random } from './random.js';

/** What the sensor makes of the drawn colours (0..255 a channel). */
export interface Photometry {
  /** Factor per channel, around 1. */
  gain: readonly [red: number, green: number, blue: number];
  /** Factor of the distance from middle grey. */
  contrast: number;
  /** Standard deviation of the noise, in 8-bit steps. */
  noise: number;
  noiseSeed: string;
}

export interface View {
  /** Scene units -> frame units, both 0..100 over the frame's side. */
  camera: Affine;
  light: Photometry;
}

/** The scene as it was laid out, in light of its own. */
export function plainView(seed: string | number, variation = 1): View {
  return { camera: IDENTITY, light: drawLight(seed, variation) };
}

/** Another look at the same scene: turned, zoomed and moved, in other light. */
export function otherView(seed: string | number, variation = 1): View {
  const rng = random('view', seed);
  const zoom = 1 + variation * rng.between(-0.15, 0.45);
  const steps: Affine[] = [
    translation(-50, -50),
    scaling(zoom * (1 + variation * rng.between(-0.08, 0.08)), zoom),
    rotation(variation * rng.between(-30, 30)),
    translation(50 + variation * rng.between(-10, 10), 50 + variation * rng.between(-10, 10)),
  ];
  return {
    camera: steps.reduce((inner, outer) => compose(outer, inner)),
    light: drawLight(`${seed} again`, variation),
  };
}

/**
 * Pixel coordinates of `from` -> pixel coordinates of `to`, for square pictures of `size` pixels; a pixel's
 * centre lies at +0.5. Occlusion plays no part: all of a scene lies in one plane.
 */
export function pixelMap(
  from: View,
  to: View,
  size: number,
): (x: number, y: number) => [x: number, y: number] {
  const toFrame = scaling(100 / size);
  const map = [invert(from.camera), to.camera, scaling(size / 100)].reduce(
    (inner, outer) => compose(outer, inner),
    toFrame,
  );
  return (x, y) => applyTo(map, x, y);
}

function drawLight(seed: string | number, variation: number): Photometry {
  const rng = random('light', seed);
  const exposure = 1 + variation * rng.between(-0.2, 0.2);
  const channel = () => exposure * (1 + variation * rng.between(-0.1, 0.1));
  return {
    gain: [channel(), channel(), channel()],
    contrast: 1 + variation * rng.between(-0.25, 0.2),
    noise: variation * rng.between(0, 9),
    noiseSeed: String(seed),
  };
}

/** Changes `pixels` (RGB bytes) in place. */
export function expose(pixels: Uint8Array, { gain, contrast, noise, noiseSeed }: Photometry): void {
  const rng = random('noise', noiseSeed);
  for (let i = 0; i < pixels.length; i++) {
    const lit = (pixels[i] * gain[i % 3] - 127.5) * contrast + 127.5;
    // The sum of two uniforms has a deviation of 1/sqrt(6).
    const grain = noise === 0 ? 0 : (rng.between(-0.5, 0.5) + rng.between(-0.5, 0.5)) * noise * Math.sqrt(6);
    pixels[i] = Math.max(0, Math.min(255, Math.round(lit + grain)));
  }
}
