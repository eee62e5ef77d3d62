/** Configuration files: YAML with bases, overrides, a strict schema and places in every message. Knows no section. */

export { type DeepReadonly, deepFreeze } from './freeze.js';
export { type Literal, parseLiteral } from './literal.js';
export { type LoadedConfig, type LoadOptions, loadConfig } from './load.js';
export {
  type Finding,
  findingsOf,
  knownKeys,
  type Path,
  schemasAt,
  show,
  unwrap,
  valueAt,
} from './schema.js';
export { type Origin, readYaml } from './yaml-file.js';
