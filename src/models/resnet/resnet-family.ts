/** The names of residual networks, and how a spec becomes one. */

import { z } from 'zod';
import { type Family, parsedSpec, type RegistryEntry } from '../request.js';
import { ResNet } from './resnet.js';

/** MODEL.SPEC of a residual network. The original has none; torchvision's words in our files' spelling. */
export const resnetSpec = z.strictObject({
  BLOCK: z.enum(['basic', 'bottleneck']).default('bottleneck'),
  LAYERS: z.array(z.number().int().positive()).length(4).default([3, 4, 6, 3]),
  WIDTH: z.number().int().positive().default(64),
});

export type ResNetSpec = z.output<typeof resnetSpec>;

function entry(sizes: Pick<ResNetSpec, 'BLOCK' | 'LAYERS'>): RegistryEntry {
  return {
    build({ arch, spec }) {
      const {
        BLOCK: block,
        LAYERS: layers,
        WIDTH: width,
      } = parsedSpec(resnetSpec, arch, { ...sizes, ...spec });
      return new ResNet({ block, layers, width });
    },
    miniature: { spec: { WIDTH: 4, LAYERS: sizes.LAYERS.map((depth) => Math.min(depth, 2)) } },
  };
}

export const resnetFamily: Family = {
  resnet18: entry({ BLOCK: 'basic', LAYERS: [2, 2, 2, 2] }),
  resnet34: entry({ BLOCK: 'basic', LAYERS: [3, 4, 6, 3] }),
  resnet50: entry({ BLOCK: 'bottleneck', LAYERS: [3, 4, 6, 3] }),
  resnet101: entry({ BLOCK: 'bottleneck', LAYERS: [3, 4, 23, 3] }),
  resnet152: entry({ BLOCK: 'bottleneck', LAYERS: [3, 8, 36, 3] }),
};
