/** What a backbone is asked for by, and how a family of backbones says what it can build. */

import type { z } from 'zod';
import { findingsOf } from '../config/index.js';
import { UserError } from '../errors.js';
import type { Backbone } from './backbone.js';

export interface BackboneRequest {
  /** a name of the registry, or of its family when `spec` says the rest */
  arch: string;
  /** MODEL.SPEC of an experiment file */
  spec?: Readonly<Record<string, unknown>>;
  /** size of the pictures that windows and positions are made for */
  imgSize?: number;
  /** of plain vision transformers */
  patchSize?: number;
  /** overrides the spec; a teacher has none */
  dropPathRate?: number;
}

export type Builder = (request: BackboneRequest) => Backbone;

/** One name of the registry. */
export interface RegistryEntry {
  build: Builder;
  /** What makes it small: the same kind of network, for tests and trials on any machine. */
  miniature: Omit<BackboneRequest, 'arch'>;
}

/** The names of a family, and what stands behind each. */
export type Family = Readonly<Record<string, RegistryEntry>>;

/** MODEL.SPEC by its schema. Throws `UserError('config')` that names the field. */
export function parsedSpec<Schema extends z.ZodType>(
  schema: Schema,
  arch: string,
  spec: unknown,
): z.output<Schema> {
  const result = schema.safeParse(spec);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = (path: readonly PropertyKey[]) => ['MODEL', 'SPEC', ...path.map(String)].join('.');
  // What a schema says of several fields at once may concern a default, which is not in the spec.
  if (issue.code === 'custom')
    throw new UserError('config', `${field(issue.path)} of ${arch}: ${issue.message}.`);
  const [{ path, kind, message, hint }] = findingsOf(schema, result.error, spec);
  throw new UserError(
    'config',
    kind === 'unknown-key'
      ? `${field(path)}: ${arch} has no such field.${hint}`
      : `${field(path)} of ${arch}: ${message}.${hint}`,
  );
}
