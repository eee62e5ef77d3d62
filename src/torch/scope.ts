/** Lifetimes: what a block makes and does not return is freed when it ends. */

import { type Handle, native } from './binding.js';

interface Disposable {
  /** gives up the handle without freeing it; 0 where that was done before */
  surrender(): Handle;
  /** told when no scope will free it any more */
  outlive(): void;
}

let current: Set<Disposable> | undefined;

/** Puts a tensor under the innermost open scope; false where there is none. */
export function adopt(tensor: Disposable): boolean {
  current?.add(tensor);
  return current !== undefined;
}

/** Takes a tensor out of the innermost scope; outer scopes never knew it. */
export function abandon(tensor: Disposable): void {
  current?.delete(tensor);
}

/**
 * Runs `body` and frees every tensor made inside, also when it throws, except those found in its result
 * (a tensor, or arrays, plain objects, Maps and Sets of them), which pass to the enclosing scope.
 * The body must not be async: its tensors would outlive the scope.
 */
export function scope<T>(body: () => T): T {
  const outer = current;
  const mine = new Set<Disposable>();
  current = mine;
  try {
    const result = body();
    if (result instanceof Promise) throw new TypeError('a scope cannot hold an async body');
    release(result, mine, outer);
    return result;
  } finally {
    current = outer;
    free(mine);
  }
}

/** In one call: each way to the addon costs more than the freeing. */
function free(tensors: ReadonlySet<Disposable>): void {
  if (tensors.size === 0) return;
  const handles: Handle[] = [];
  for (const tensor of tensors) handles.push(tensor.surrender());
  native.releaseAll(handles);
}

function release(value: unknown, mine: Set<Disposable>, outer: Set<Disposable> | undefined): void {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
  if (mine.delete(value as Disposable)) {
    if (outer === undefined) (value as Disposable).outlive();
    else outer.add(value as Disposable);
    return;
  }
  if (Array.isArray(value) || value instanceof Set) {
    for (const item of value) release(item, mine, outer);
  } else if (value instanceof Map) {
    for (const item of value.values()) release(item, mine, outer);
  } else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) release(item, mine, outer);
  }
}
