/** The names of Vision Longformers, and how a spec becomes one. */

import { type Family, parsedSpec, type RegistryEntry } from '../request.js';
import { vilOptions, vilSpec } from './config.js';
import { VisionLongformer } from './vil.js';

/** ViL-T of the paper: 28M parameters, relative positions. */
const VIL_2262 =
  'l1,h3,d96,n2,s1,g1,p4,f7,a0_l2,h6,d192,n2,s1,g1,p2,f7,a0_l3,h12,d384,n6,s0,g1,p2,f7,a0_l4,h24,d768,n2,s0,g0,p2,f7,a0';

const VIL_1281 =
  'l1,h3,d96,n1,s1,g1,p4,f7_l2,h3,d192,n2,s1,g1,p2,f7_l3,h6,d384,n8,s0,g1,p2,f7_l4,h12,d768,n1,s0,g0,p2,f7';

/** The ARCH of each name; a spec that has one of its own wins. */
const ARCHS: Readonly<Record<string, string>> = {
  vil_1281: VIL_1281,
  vil_2262: VIL_2262,
  vil_14121:
    'l1,h3,d96,n1,s1,g1,p4,f7_l2,h3,d192,n4,s1,g1,p2,f7_l3,h6,d384,n12,s0,g1,p2,f7_l4,h12,d768,n1,s0,g0,p2,f7',
  // The folders of the original's experiment files.
  vil_tiny:
    'l1,h1,d48,n1,s1,g1,p4,f7_l2,h3,d96,n1,s1,g1,p2,f7_l3,h3,d192,n9,s0,g1,p2,f7_l4,h6,d384,n1,s0,g0,p2,f7',
  vil_small: VIL_1281,
  // The spec says all; the original's files say `vision_longformer`, and `cls_vil` where they are older.
  vil: VIL_2262,
  vision_longformer: VIL_2262,
  cls_vil: VIL_2262,
};

/** `spec` with an ARCH where it has none. */
function withArch(arch: string, spec: Readonly<Record<string, unknown>> = {}): unknown {
  const { MSVIT: own = {} } = spec;
  if (typeof own !== 'object' || own === null) return spec;
  return { ...spec, MSVIT: { ARCH: arch, ...own } };
}

/** The same stages, an eighth as wide and of two blocks at most. */
function narrow(arch: string): string {
  return arch
    .replace(/d(\d+)/g, (_, width) => `d${Number(width) / 8}`)
    .replace(/n(\d+)/g, (_, depth) => `n${Math.min(Number(depth), 2)}`);
}

function entry(own: string): RegistryEntry {
  return {
    build({ arch, spec, imgSize = 224, dropPathRate }) {
      const options = vilOptions(parsedSpec(vilSpec, arch, withArch(own, spec)), imgSize);
      return new VisionLongformer({ ...options, dropPathRate: dropPathRate ?? options.dropPathRate });
    },
    miniature: { spec: { MSVIT: { ARCH: narrow(own) } } },
  };
}

export const vilFamily: Family = Object.fromEntries(
  Object.entries(ARCHS).map(([name, arch]) => [name, entry(arch)]),
);
