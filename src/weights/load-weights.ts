/** Weights into a module: what fits, what is made to fit, and a report of the rest. */

import { UserError } from '../errors.js';
import type { Module } from '../nn/index.js';
import { type DType, scope, type Tensor } from '../torch/index.js';
import { resizePositionsTo } from './resize-positions.js';
import { bareName } from './state-dict.js';

/** How many wrong tensors an error names. */
const MOST_SHOWN = 4;

export interface WeightReport {
  used: number;
  missing: string[];
  unexpected: string[];
  /** names whose shapes differ, with both shapes */
  mismatched: string[];
  /** positions that were resampled, with both shapes; they count as used */
  resized: string[];
}

/** What of a state goes into a module. */
export interface FittedWeights extends WeightReport {
  fitting: Map<string, Tensor>;
}

/**
 * Compares `state` with the tensors of a module. Position tables of another size are resampled. Buffers of whole
 * numbers, such as position indices, follow from the construction: a file need not have them, nor in this size.
 */
export function fitWeights(
  own: ReadonlyMap<string, Tensor>,
  state: ReadonlyMap<string, Tensor>,
): FittedWeights {
  const fitted: FittedWeights = {
    ...{ used: 0, missing: [], unexpected: [], mismatched: [], resized: [] },
    fitting: new Map(),
  };
  // Some networks' own names have wrappers too (the original's ResNets), which others' files of them lack.
  const wanted = new Set([...own.keys()].map(bareName));
  const given = new Map([...state].map(([name, tensor]) => [bareName(name), tensor]));
  for (const [name, target] of own) {
    const found = given.get(bareName(name));
    const isDerived = isWholeNumbers(target.dtype);
    if (found === undefined) {
      if (!isDerived) fitted.missing.push(name);
      continue;
    }
    const shapes = `${name} [${found.shape.join(', ')}], expected [${target.shape.join(', ')}]`;
    if (found.shape.join() === target.shape.join()) {
      fitted.fitting.set(name, found);
    } else if (!isDerived) {
      const resized = resizePositionsTo(name, found, target.shape);
      if (resized === undefined) {
        fitted.mismatched.push(shapes);
        continue;
      }
      fitted.fitting.set(name, resized);
      fitted.resized.push(shapes);
    }
  }
  for (const name of state.keys()) if (!wanted.has(bareName(name))) fitted.unexpected.push(name);
  fitted.used = fitted.fitting.size;
  return fitted;
}

/**
 * Copies `state` into `module`. Missing or foreign names and other shapes are reported; less than half of the
 * module's tensors found is an error, since such a network would be a random one.
 */
export function loadWeights(
  module: Module,
  state: ReadonlyMap<string, Tensor>,
  source: string,
): WeightReport {
  return scope(() => {
    const own = module.stateDict();
    const { fitting, ...report } = fitWeights(own, state);
    const counts = [...own].filter(([, { dtype }]) => !isWholeNumbers(dtype)).map(([name]) => name);
    const matching = counts.filter((name) => fitting.has(name)).length;
    if (matching * 2 < counts.length) {
      const shapeOf = (name: string) => `[${(own.get(name) ?? state.get(name))?.shape.join(', ')}]`;
      const wrong = [
        ...report.mismatched,
        ...report.missing.map((name) => `${name} ${shapeOf(name)} is missing`),
        ...report.unexpected.map((name) => `${name} ${shapeOf(name)} is not part of it`),
      ];
      const example = wrong.slice(0, MOST_SHOWN).join('; ');
      throw new UserError(
        'checkpoint',
        `${source} does not fit this network: ${matching} of ${counts.length} tensors match (${example}). ` +
          'Check --arch, --cfg and --checkpoint_key.',
      );
    }
    module.loadStateDict(fitting, { strict: false });
    return report;
  });
}

/** The report in one line: "170 tensors used, 2 missing (norm.weight, norm.bias), ...". */
export function describeReport(report: WeightReport): string {
  const { used, missing, unexpected, mismatched, resized } = report;
  const parts = [`${used} tensors used`];
  const add = (names: readonly string[], what: string) => {
    if (names.length === 0) return;
    const shown = names.slice(0, 3).join(', ');
    parts.push(`${names.length} ${what} (${shown}${names.length > 3 ? ', …' : ''})`);
  };
  add(resized, 'resampled to this size, bicubic');
  add(missing, 'missing');
  add(unexpected, 'unexpected');
  add(mismatched, 'of another shape');
  return parts.join(', ');
}

function isWholeNumbers(dtype: DType): boolean {
  return /^(u?int|bool)/.test(dtype);
}
