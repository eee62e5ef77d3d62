/** Scene and view -> SVG -> pixels. */

import sharp from 'sharp';
import type { Picture } from '../../draw/index.js';
import type { Affine } from './affine.js';
import type { Colour } from './colours.js';
import type { Part } from './part.js';
import type { Companion, Scene } from './scene.js';
import { MARGIN, type Mark } from './surroundings.js';
import { expose, plainView, type View } from './view.js';

export interface RenderOptions {
  /** Side of the square picture in pixels. */
  size: number;
  view?: View;
}

/** The drawing alone, without light and noise: an SVG document of `size` by `size` pixels. */
export function sceneSvg(scene: Scene, { size, view = plainView(0, 0) }: RenderOptions): string {
  const { palette, slope } = scene;
  const [from, to] = palette.ground;
  const side = 100 + 2 * MARGIN;
  const body = [
    `<rect x="${-MARGIN}" y="${-MARGIN}" width="${side}" height="${side}" fill="url(#ground)"/>`,
    ...scene.background.map(markSvg),
    ...scene.clutter.map(markSvg),
    ...[scene, ...scene.companions].map(
      (object) =>
        `<g transform="${matrix(object.pose)}">${object.parts.map((part) => partSvg(part, object)).join('')}</g>`,
    ),
    ...scene.occluders.map(markSvg),
  ];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}" viewBox="0 0 100 100">` +
    `<defs>${gradient('ground', from, to, slope)}${gradient('surface', palette.object.main, palette.object.third, slope)}</defs>` +
    `<rect width="100" height="100" fill="${from}"/>` +
    `<g transform="${matrix(view.camera)}" fill-rule="evenodd" stroke-linejoin="round" stroke-linecap="round">` +
    `${body.join('')}</g></svg>`
  );
}

/** The picture that `view` shows of `scene`: RGB, the same bytes for the same arguments. */
export async function renderScene(
  scene: Scene,
  { size, view = plainView(0, 0) }: RenderOptions,
): Promise<Picture> {
  const { data, info } = await sharp(Buffer.from(sceneSvg(scene, { size, view })))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const pixels = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  expose(pixels, view.light);
  return { width: info.width, height: info.height, data: pixels };
}

function partSvg(part: Part, scene: Companion): string {
  const colour = scene.palette.object[part.role];
  if (part.line !== undefined) {
    const pen = scene.fill === 'lines' ? scene.palette.outline : colour;
    return `<path d="${part.d}" fill="none" stroke="${pen}" stroke-width="${part.line}"/>`;
  }
  const paint = surfacePaint(part, scene, colour);
  const edge =
    scene.outline > 0 ? ` stroke="${scene.palette.outline}" stroke-width="${round(scene.outline)}"` : '';
  return `<path d="${part.d}" fill="${paint}"${edge}/>`;
}

function surfacePaint(part: Part, scene: Companion, colour: Colour): string {
  // Dark pieces (eyes, tyres, doors) stay filled in a line drawing, as a pen would fill them.
  if (scene.fill === 'lines') return part.role === 'dark' ? scene.palette.outline : scene.palette.ground[0];
  return scene.fill === 'gradient' && part.role === 'main' ? 'url(#surface)' : colour;
}

function markSvg({ d, colour, line, opacity = 1, map }: Mark): string {
  const paint =
    line === undefined ? `fill="${colour}"` : `fill="none" stroke="${colour}" stroke-width="${round(line)}"`;
  const place = map === undefined ? '' : ` transform="${matrix(map)}"`;
  return `<path d="${d}"${place} ${paint}${opacity < 1 ? ` opacity="${round(opacity)}"` : ''}/>`;
}

function gradient(id: string, from: Colour, to: Colour, degrees: number): string {
  return (
    `<linearGradient id="${id}" gradientTransform="rotate(${round(degrees)} 0.5 0.5)">` +
    `<stop offset="0" stop-color="${from}"/><stop offset="1" stop-color="${to}"/></linearGradient>`
  );
}

const round = (value: number): number => Math.round(value * 1000) / 1000;
const matrix = (map: Affine): string => `matrix(${map.map((v) => Math.round(v * 1e5) / 1e5).join(' ')})`;
