/** A network that is looked at and not changed: evaluation mode for as long as somebody looks. */

import type { Module } from '../nn/index.js';

/**
 * Puts every part of `module` into evaluation mode: nothing is dropped, batch norms use and keep their running
 * statistics. The result puts each part back into the mode that it had.
 */
export function freeze(module: Module): () => void {
  const before = [...module.modules()].map(([, part]) => [part, part.training] as const);
  module.eval();
  return () => {
    for (const [part, training] of before) part.training = training;
  };
}
