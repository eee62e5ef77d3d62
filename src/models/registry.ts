/** Names to backbones: what the families build, in one table. */

import { didYouMean, UserError } from '../errors.js';
import type { Backbone } from './backbone.js';
import { cvtFamily } from './cvt/cvt-family.js';
import type { BackboneRequest, Family, RegistryEntry } from './request.js';
import { resnetFamily } from './resnet/resnet-family.js';
import { swinFamily } from './swin/swin-family.js';
import { vilFamily } from './vil/vil-family.js';
import { vitFamily } from './vit/vit-family.js';

const REGISTRY: Family = {
  ...swinFamily,
  ...cvtFamily,
  ...vilFamily,
  ...vitFamily,
  ...resnetFamily,
};

/** Every name that `buildBackbone` takes. */
export const backboneNames: readonly string[] = Object.keys(REGISTRY);

/** Builds a backbone, freshly initialised from libtorch's default generator. */
export function buildBackbone(request: BackboneRequest): Backbone {
  return entryOf(request.arch).build(request);
}

/** A request for a small network of the same kind, for tests and trials. */
export function miniature(arch: string): BackboneRequest {
  return { arch, ...entryOf(arch).miniature };
}

function entryOf(arch: string): RegistryEntry {
  if (Object.hasOwn(REGISTRY, arch)) return REGISTRY[arch];
  throw new UserError(
    'config',
    `unknown architecture '${arch}'.${didYouMean(arch, backboneNames)} Known are: ${backboneNames.join(', ')}.`,
  );
}
