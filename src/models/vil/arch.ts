/** The ARCH mini-language of Vision Longformer: `l1,h3,d96,n2,s1,g1,p4,f7,a0_l2,...`, a part for each stage. */

/** One stage, in words. */
export interface StageSpec {
  /** h */
  numHeads: number;
  /** d: width */
  dim: number;
  /** n: blocks */
  depth: number;
  /** s: whether attention is of the network's sparse type; otherwise every token sees all */
  sparse: boolean;
  /** g: global tokens, which see and are seen by all */
  globals: number;
  /** p: side of a patch, in tokens of the stage before (pixels in the first) */
  patchSize: number;
  /** f: side of a chunk (longformer), number of features (linformer, performer), rate of reduction (srformer) */
  features: number;
  /** a: absolute positions; otherwise attention has a bias for relative ones, where its type knows such */
  absolutePositions: boolean;
  /** r: chunks also see the pooled map */
  pooled: boolean;
}

/** A mistake in an ARCH string: what, and in which stage. */
export class ArchError extends Error {}

interface Field {
  meaning: string;
  default: number;
  min: number;
  max: number;
}

const ANY = Number.MAX_SAFE_INTEGER;
const FIELDS: Readonly<Record<string, Field>> = {
  l: { meaning: 'number of the stage', default: 1, min: 1, max: ANY },
  h: { meaning: 'heads', default: 3, min: 1, max: ANY },
  d: { meaning: 'width', default: 192, min: 1, max: ANY },
  n: { meaning: 'blocks', default: 1, min: 1, max: ANY },
  s: { meaning: 'sparse attention', default: 1, min: 0, max: 1 },
  g: { meaning: 'global tokens', default: 1, min: 0, max: ANY },
  p: { meaning: 'patch size', default: 2, min: 1, max: ANY },
  f: { meaning: 'chunk size or features', default: 7, min: 1, max: ANY },
  a: { meaning: 'absolute positions', default: 1, min: 0, max: 1 },
  r: { meaning: 'pooled keys', default: 0, min: 0, max: 1 },
};

const KNOWN = Object.entries(FIELDS)
  .map(([key, { meaning }]) => `${key} (${meaning})`)
  .join(', ');

/** Three or four stages, checked. Fields that a stage leaves out have the original's defaults. */
export function parseArch(arch: string): StageSpec[] {
  const parts = arch.split('_');
  if (parts.length < 3 || parts.length > 4)
    throw new ArchError(
      `expected 3 or 4 stages with '_' between them, received ${parts.length} in '${arch}'`,
    );
  return parts.map((part, i) => parseStage(part, i + 1));
}

function parseStage(part: string, stage: number): StageSpec {
  const values = new Map<string, number>();
  const fail = (what: string): never => {
    throw new ArchError(`stage ${stage} ('${part}'): ${what}`);
  };
  for (const text of part.split(',')) {
    const [key, digits] = [text.slice(0, 1), text.slice(1)];
    if (!Object.hasOwn(FIELDS, key)) fail(`'${text}' is no field; the fields are ${KNOWN}`);
    const { meaning, min, max } = FIELDS[key];
    if (!/^\d{1,9}$/.test(digits)) fail(`${key} (${meaning}) needs a whole number, received '${digits}'`);
    if (values.has(key)) fail(`${key} (${meaning}) is given twice`);
    const value = Number(digits);
    if (value < min || value > max)
      fail(
        `${key} (${meaning}) must be ${max === ANY ? `at least ${min}` : `${min} or ${max}`}, received ${value}`,
      );
    values.set(key, value);
  }
  const value = (key: string) => values.get(key) ?? FIELDS[key].default;
  if (value('l') !== stage) fail(`l (number of the stage) must be ${stage}, received ${value('l')}`);
  if (value('d') % value('h') !== 0) fail(`h (heads): ${value('h')} do not divide the width, d${value('d')}`);
  if (value('a') === 1 && value('d') % 2 !== 0)
    fail(`d (width) must be even where there are absolute positions (a1), received ${value('d')}`);
  return {
    numHeads: value('h'),
    dim: value('d'),
    depth: value('n'),
    sparse: value('s') === 1,
    globals: value('g'),
    patchSize: value('p'),
    features: value('f'),
    absolutePositions: value('a') === 1,
    pooled: value('r') === 1,
  };
}
