/** Strings such as `rand-m9-mstd0.5-inc1`: which automatic augmentation is meant, and how strong it is. */

import { UserError } from '../errors.js';
import type { StepName } from './augment-levels.js';
import { MAX_MAGNITUDE } from './augment-levels.js';
import {
  MIX_STEPS,
  POLICIES,
  RAND_STEPS,
  RAND_STEPS_INCREASING,
  RAND_WEIGHTS,
  type SubPolicy,
} from './augment-policies.js';

/** How far magnitudes stray from what is written. */
export interface Strength {
  /** standard deviation of the magnitude; Infinity: uniform between 0 and what is written */
  spread: number;
  /** greatest magnitude after that */
  limit: number;
}

/** Plain data, so that it can be sent to worker threads. */
export type AutoAugment =
  | ({
      kind: 'rand';
      steps: readonly StepName[];
      /** one a step: drawn by these, none twice; absent: all alike, perhaps twice */
      weights?: readonly number[];
      /** steps a picture */
      layers: number;
      magnitude: number;
      /** that a drawn step is carried out */
      probability: number;
    } & Strength)
  | ({ kind: 'policy'; policy: readonly SubPolicy[] } & Strength)
  | ({
      kind: 'mix';
      steps: readonly StepName[];
      magnitude: number;
      /** chains that are mixed */
      width: number;
      /** steps of a chain; 0: drawn from 1 to 3 */
      depth: number;
      alpha: number;
      /** blend chain by chain instead of adding them up */
      isBlended: boolean;
    } & Strength);

/** From here on a spread means: uniform. */
const UNIFORM_FROM = 100;

type Keys = Readonly<Record<string, string>>;

const STRENGTH_KEYS: Keys = {
  mstd: 'spread of the magnitude',
  mmax: 'greatest magnitude',
};
const RAND_KEYS: Keys = {
  m: 'magnitude',
  n: 'steps a picture',
  p: 'probability of a step',
  w: 'set of weights',
  inc: '1: forms that grow stronger with the magnitude',
  ...STRENGTH_KEYS,
};
const MIX_KEYS: Keys = {
  m: 'magnitude',
  w: 'chains',
  d: 'steps a chain',
  a: 'alpha of the mixing',
  b: '1: blend chain by chain',
  ...STRENGTH_KEYS,
};

/** undefined for '', 'none' and the like: no automatic augmentation. Throws `UserError` for what means nothing. */
export function parseAutoAugment(text: string): AutoAugment | undefined {
  if (/^(none|false|off|)$/i.test(text)) return undefined;
  const [name, ...parts] = text.split('-');
  if (name === 'rand') return rand(new Sections(text, parts, RAND_KEYS));
  if (name === 'augmix') return mix(new Sections(text, parts, MIX_KEYS));
  if (Object.hasOwn(POLICIES, name))
    return { kind: 'policy', policy: POLICIES[name], ...new Sections(text, parts, STRENGTH_KEYS).strength() };
  throw new UserError(
    'usage',
    `--aa '${text}': expected rand, augmix, ${Object.keys(POLICIES).join(', ')} or none before the first dash, received '${name}'. An example is rand-m9-mstd0.5-inc1.`,
  );
}

function rand(sections: Sections): AutoAugment {
  const steps = sections.isOn('inc') ? RAND_STEPS_INCREASING : RAND_STEPS;
  const layers = sections.whole('n', 2, 1, 100);
  const isWeighted = sections.has('w');
  if (isWeighted) sections.whole('w', 0, 0, 0);
  const choices = RAND_WEIGHTS.filter((weight) => weight > 0).length;
  if (isWeighted && layers > choices)
    throw sections.error('n', `at most ${choices} beside w0`, String(layers));
  return {
    kind: 'rand',
    steps,
    ...(isWeighted && { weights: RAND_WEIGHTS }),
    layers,
    magnitude: sections.number('m', MAX_MAGNITUDE, 0, 100),
    probability: sections.number('p', 0.5, 0, 1),
    ...sections.strength(),
  };
}

function mix(sections: Sections): AutoAugment {
  return {
    kind: 'mix',
    steps: MIX_STEPS,
    magnitude: sections.number('m', 3, 0, 100),
    width: sections.whole('w', 3, 1, 100),
    depth: sections.whole('d', 0, 0, 100),
    alpha: sections.number('a', 1, 1e-3, 1e3),
    isBlended: sections.isOn('b'),
    ...sections.strength(),
  };
}

/** The parts behind the name, such as `m9`: letters, then a number. */
class Sections {
  private readonly values = new Map<string, number>();

  constructor(
    private readonly text: string,
    parts: readonly string[],
    keys: Keys,
  ) {
    for (const part of parts) {
      const [, key, digits] = /^([a-z]+)(\d+(?:\.\d+)?(?:e\d+)?|inf)$/.exec(part) ?? [];
      if (key === undefined || !Object.hasOwn(keys, key)) {
        const known = Object.entries(keys).map(([name, meaning]) => `${name} (${meaning})`);
        throw new UserError(
          'usage',
          `--aa '${text}': expected sections of a name and a number, of these: ${known.join(', ')}; received '${part}'.`,
        );
      }
      if (this.values.has(key)) throw new UserError('usage', `--aa '${text}': ${key} stands there twice.`);
      this.values.set(key, digits === 'inf' ? Number.POSITIVE_INFINITY : Number(digits));
    }
  }

  has(key: string): boolean {
    return this.values.has(key);
  }

  isOn(key: string): boolean {
    return this.whole(key, 0, 0, 1) === 1;
  }

  number(key: string, fallback: number, least: number, most: number): number {
    const value = this.values.get(key) ?? fallback;
    if (!(value >= least && value <= most)) throw this.error(key, `${least} to ${most}`, String(value));
    return value;
  }

  whole(key: string, fallback: number, least: number, most: number): number {
    const value = this.number(key, fallback, least, most);
    if (!Number.isInteger(value)) throw this.error(key, 'a whole number', String(value));
    return value;
  }

  strength(): Strength {
    const spread = this.number('mstd', 0, 0, Number.POSITIVE_INFINITY);
    return {
      spread: spread > UNIFORM_FROM ? Number.POSITIVE_INFINITY : spread,
      limit: this.number('mmax', MAX_MAGNITUDE, 0, 100),
    };
  }

  error(key: string, expected: string, received: string): UserError {
    return new UserError(
      'usage',
      `--aa '${this.text}': expected ${expected} after ${key}, received ${received}.`,
    );
  }
}
