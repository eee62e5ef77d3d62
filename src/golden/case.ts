/** Golden cases: numbers that the original computed, what made them, and how close ours must come. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf, UserError } from '../errors.js';
import { type Device, scope, type Tensor } from '../torch/index.js';
import { readSafetensors } from '../weights/index.js';

export const caseSchema = z.looseObject({
  name: z.string(),
  kind: z.string(),
  files: z.array(z.string()),
  config: z.record(z.string(), z.unknown()).optional(),
  /** where to compute; said by the command line, not by manifests */
  device: z.string().default('cpu'),
});

/** One case with all its fields; each kind reads its own. */
export type GoldenCase = z.output<typeof caseSchema>;

const manifestSchema = z.looseObject({ format: z.literal(1), cases: z.array(caseSchema) });

/** One comparison of a case. */
export interface Check {
  name: string;
  /** largest deviation, in the unit of `tolerance` */
  worst: number;
  tolerance: number;
  ok: boolean;
  detail?: string;
}

export function readManifest(folder: string): GoldenCase[] {
  const path = join(folder, 'manifest.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(
      'usage',
      `${path} cannot be read (${messageOf(error)}). Give a folder with a manifest.json.`,
    );
  }
  try {
    return manifestSchema.parse(JSON.parse(text)).cases;
  } catch (error) {
    throw new UserError('data', `${path} is not a manifest of golden cases: ${messageOf(error)}`);
  }
}

/** The tensors of one of the case's safetensors files, on the CPU. */
export function tensorsOf(golden: GoldenCase, folder: string, file = 0): Map<string, Tensor> {
  return readSafetensors(join(folder, golden.files[file])).tensors;
}

/** The same tensors on a device. */
export function placed(tensors: ReadonlyMap<string, Tensor>, device: Device): Map<string, Tensor> {
  return new Map([...tensors].map(([name, value]) => [name, value.to({ device })]));
}

export function jsonOf<T>(golden: GoldenCase, folder: string, suffix: string): T {
  const file = golden.files.find((name) => name.endsWith(suffix));
  if (file === undefined) throw new Error(`the case lists no ${suffix} file`);
  return JSON.parse(readFileSync(join(folder, file), 'utf8')) as T;
}

/** Relative slack of every comparison of tensors. */
const RELATIVE = 1e-6;

/** Whether |mine - golden| <= atol + rtol*|golden| everywhere; `worst` is the largest |mine - golden|. */
export function compareTensors(
  name: string,
  mine: Tensor,
  golden: Tensor | undefined,
  atol: number,
  rtol = RELATIVE,
): Check {
  if (golden === undefined) return failed(name, 'the golden file lacks this tensor');
  if (mine.shape.join() !== golden.shape.join())
    return failed(name, `shape [${mine.shape.join(', ')}], expected [${golden.shape.join(', ')}]`);
  return scope(() => {
    const wide = { dtype: 'float64', device: 'cpu' } as const;
    const reference = golden.to(wide);
    const difference = mine.detach().to(wide).sub(reference).abs();
    if (difference.numel === 0) return { name, worst: 0, tolerance: atol, ok: true };
    const excess = difference.sub(reference.abs().mul(rtol)).max().item();
    const worst = difference.max().item();
    return { name, worst, tolerance: atol, ok: excess <= atol };
  });
}

/** Numbers in float64 against a stored vector. */
export function compareNumbers(
  name: string,
  mine: ArrayLike<number>,
  golden: ArrayLike<number>,
  atol: number,
  rtol = RELATIVE,
): Check {
  if (mine.length !== golden.length) return failed(name, `${mine.length} values, expected ${golden.length}`);
  let worst = 0;
  let ok = true;
  for (let i = 0; i < golden.length; i++) {
    const difference = Math.abs(mine[i] - golden[i]);
    worst = Math.max(worst, difference);
    if (!(difference <= atol + rtol * Math.abs(golden[i]))) ok = false;
  }
  return { name, worst, tolerance: atol, ok };
}

export function failed(name: string, detail: string): Check {
  return { name, worst: Number.POSITIVE_INFINITY, tolerance: 0, ok: false, detail };
}

export function passed(name: string, detail?: string): Check {
  return { name, worst: 0, tolerance: 0, ok: true, ...(detail !== undefined && { detail }) };
}

/** Finds the entry of a `compare` table whose name fits; `*` stands for digits. */
export function toleranceOf<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  if (name in table) return table[name];
  const key = Object.keys(table).find((pattern) => {
    if (!pattern.includes('*')) return false;
    const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
    return new RegExp(`^${parts.join('\\d+')}$`).test(name);
  });
  return key === undefined ? undefined : table[key];
}
