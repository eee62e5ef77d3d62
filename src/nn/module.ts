/** Modules: named parameters, buffers and children, found by looking at a module's own properties. */

import { UserError } from '../errors.js';
import { type Device, type DType, noGrad, Tensor } from '../torch/index.js';

/** A weight. It owns its memory until the module is gone; scopes do not free it. */
export class Parameter extends Tensor {
  /** Takes over `value`, which is empty afterwards. */
  constructor(value: Tensor, options: { trainable?: boolean } = {}) {
    super(value.take());
    this.keep();
    this.requiresGrad = options.trainable ?? true;
  }
}

/** A saved tensor that is not trained, such as a running mean. */
export class Buffer extends Tensor {
  constructor(value: Tensor) {
    super(value.take());
    this.keep();
  }
}

const officialNames = new Map<string, string>();

/** camelCase property -> official snake_case name. */
export function officialName(property: string): string {
  let name = officialNames.get(property);
  if (name === undefined) {
    name = property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    officialNames.set(property, name);
  }
  return name;
}

export interface LoadReport {
  missing: string[];
  unexpected: string[];
}

/**
 * Fields are the official names in camelCase, so that state-dict keys follow by rule. The order is PyTorch's:
 * own parameters, own buffers, then children, each in the order of definition.
 */
export abstract class Module {
  training = true;

  /** Direct children by official name; an array gives its items their index. */
  *children(): Generator<[string, Module]> {
    for (const [property, value] of Object.entries(this)) {
      if (value instanceof Module) yield [officialName(property), value];
      else if (Array.isArray(value))
        for (const [i, item] of value.entries())
          if (item instanceof Module) yield [`${officialName(property)}.${i}`, item];
    }
  }

  /** This module and all below it, with their prefixes (ending in a dot, or empty). */
  *modules(prefix = ''): Generator<[string, Module]> {
    yield [prefix, this];
    for (const [name, child] of this.children()) yield* child.modules(`${prefix}${name}.`);
  }

  private *own<T extends Tensor>(kind: new (...args: never[]) => T): Generator<[string, T]> {
    for (const [property, value] of Object.entries(this))
      if (value instanceof kind) yield [officialName(property), value];
  }

  /** Every parameter once, under its first name. */
  namedParameters(): Map<string, Parameter> {
    const seen = new Set<Parameter>();
    const result = new Map<string, Parameter>();
    for (const [prefix, module] of this.modules())
      for (const [name, parameter] of module.own(Parameter)) {
        if (seen.has(parameter)) continue;
        seen.add(parameter);
        result.set(prefix + name, parameter);
      }
    return result;
  }

  parameters(): Parameter[] {
    return [...this.namedParameters().values()];
  }

  namedBuffers(): Map<string, Buffer> {
    const result = new Map<string, Buffer>();
    for (const [prefix, module] of this.modules())
      for (const [name, buffer] of module.own(Buffer)) result.set(prefix + name, buffer);
    return result;
  }

  /** Parameters and buffers under their official names; the tensors themselves, not copies. */
  stateDict(): Map<string, Tensor> {
    const result = new Map<string, Tensor>();
    for (const [prefix, module] of this.modules()) {
      for (const [name, parameter] of module.own(Parameter)) result.set(prefix + name, parameter);
      for (const [name, buffer] of module.own(Buffer)) result.set(prefix + name, buffer);
    }
    return result;
  }

  /**
   * Whether `state` could be copied into this module: a tensor of another shape is an error; what is missing or
   * left over is one too, unless `strict` is false: then it is reported. Changes nothing.
   */
  checkStateDict(state: ReadonlyMap<string, Tensor>, options: { strict?: boolean } = {}): LoadReport {
    const own = this.stateDict();
    const missing = [...own.keys()].filter((name) => !state.has(name));
    const unexpected = [...state.keys()].filter((name) => !own.has(name));
    if ((options.strict ?? true) && missing.length + unexpected.length > 0)
      throw new UserError(
        'checkpoint',
        `the weights belong to another network: ${summary('missing', missing)}${summary('unexpected', unexpected)}` +
          'Check --arch and the configuration.',
      );
    for (const [name, target] of own) {
      const source = state.get(name);
      if (source !== undefined && source.shape.join() !== target.shape.join())
        throw new UserError(
          'checkpoint',
          `the weights belong to another network: ${name} has shape [${source.shape.join(', ')}], ` +
            `expected [${target.shape.join(', ')}]. Check --arch and the configuration.`,
        );
    }
    return { missing, unexpected };
  }

  /** Copies the values of `state` into this module's tensors, by name, once all of it is known to fit. */
  loadStateDict(state: ReadonlyMap<string, Tensor>, options: { strict?: boolean } = {}): LoadReport {
    const report = this.checkStateDict(state, options);
    noGrad(() => {
      for (const [name, target] of this.stateDict()) {
        const source = state.get(name);
        if (source !== undefined) target.copy_(source);
      }
    });
    return report;
  }

  /** Training mode: drop path draws, batch norm uses the batch's statistics. */
  train(mode = true): this {
    for (const [, module] of this.modules()) module.training = mode;
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Moves parameters and buffers; whole-number buffers keep their dtype. */
  to(target: { device?: Device; dtype?: DType }): this {
    noGrad(() => {
      for (const value of this.stateDict().values()) {
        const dtype =
          value.dtype.startsWith('float') || value.dtype === 'bfloat16' ? target.dtype : undefined;
        using moved = value.to({ device: target.device ?? value.device, dtype: dtype ?? value.dtype });
        value.setData(moved);
      }
    });
    return this;
  }

  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.grad = null;
  }
}

function summary(what: string, names: readonly string[]): string {
  if (names.length === 0) return '';
  const shown = names.slice(0, 3).join(', ');
  return `${names.length} ${what} (${shown}${names.length > 3 ? ', ...' : ''}). `;
}
