/** What the optimisers share: groups, states by parameter, and PyTorch's layout of both. */

import { UserError } from '../errors.js';
import { Buffer, type Parameter } from '../nn/index.js';
import { noGrad, type Tensor } from '../torch/index.js';
import type { ParamGroup } from './param-groups.js';

/** Named tensors and counters of one parameter. */
export type ParameterState = Record<string, Buffer | number>;

/** As PyTorch writes it: states by the number of the parameter, groups with their settings and numbers. */
export interface OptimizerState {
  state: Map<number, Record<string, Tensor | number>>;
  paramGroups: { settings: Record<string, unknown>; params: number[] }[];
}

export abstract class Optimizer {
  protected readonly states = new Map<Parameter, ParameterState>();

  constructor(readonly groups: readonly ParamGroup[]) {}

  /** Settings of a group beside lr and weight decay, under PyTorch's names. */
  protected abstract settings(): Record<string, unknown>;
  /** What it keeps for a parameter, under PyTorch's names. */
  protected abstract stateNames(): readonly string[];
  protected abstract stepGroup(group: ParamGroup, params: Parameter[], gradients: Tensor[]): void;

  /** One update from the gradients that are there; parameters without one stay. */
  step(): void {
    noGrad(() => {
      for (const group of this.groups) {
        const params: Parameter[] = [];
        const gradients: Tensor[] = [];
        for (const parameter of group.params) {
          const { grad } = parameter;
          if (grad === null) continue;
          params.push(parameter);
          gradients.push(grad);
        }
        if (params.length > 0) this.stepGroup(group, params, gradients);
        for (const gradient of gradients) gradient.dispose();
      }
    });
  }

  zeroGrad(): void {
    for (const { params } of this.groups) for (const parameter of params) parameter.grad = null;
  }

  /** The tensors of one kind for these parameters; made as zeros where they are missing. */
  protected tensors(params: readonly Parameter[], name: string): Buffer[] {
    return params.map((parameter) => {
      const state = this.stateOf(parameter);
      state[name] ??= new Buffer(parameter.zerosLike());
      return state[name] as Buffer;
    });
  }

  protected stateOf(parameter: Parameter): ParameterState {
    let state = this.states.get(parameter);
    if (state === undefined) {
      state = {};
      this.states.set(parameter, state);
    }
    return state;
  }

  stateDict(): OptimizerState {
    const numbers = new Map(
      this.groups.flatMap(({ params }) => params).map((parameter, i) => [parameter, i]),
    );
    const state: OptimizerState['state'] = new Map();
    for (const [parameter, i] of numbers) {
      const own = this.states.get(parameter);
      if (own !== undefined) state.set(i, { ...own });
    }
    return {
      state,
      paramGroups: this.groups.map(({ params, lr, weightDecay }) => ({
        settings: { lr, weight_decay: weightDecay, ...this.settings() },
        params: params.map((parameter) => numbers.get(parameter) as number),
      })),
    };
  }

  /** Whether `dict` fits these parameters; an error says where it does not. Changes nothing. */
  checkStateDict(dict: OptimizerState): void {
    const params = this.groups.flatMap((group) => group.params);
    const expected = this.groups.map((group) => group.params.length).join(' + ');
    const found = dict.paramGroups.map((group) => group.params.length).join(' + ');
    if (expected !== found)
      throw new UserError(
        'checkpoint',
        `the optimizer state is for ${found} parameters, this network has ${expected}. ` +
          'It was written with another architecture or other heads.',
      );
    for (const [i, { settings }] of dict.paramGroups.entries())
      for (const name of ['lr', 'weight_decay'])
        if (!Number.isFinite(Number(settings[name] ?? Number.NaN)))
          throw new UserError('checkpoint', `group ${i} of the optimizer state has no number for '${name}'.`);
    const kinds = this.stateNames();
    const places = placesOf(dict);
    for (const [number, saved] of dict.state) {
      const parameter = params[places.get(number) ?? -1];
      if (parameter === undefined)
        throw new UserError(
          'checkpoint',
          `the optimizer state names parameter ${number}, which is in no group.`,
        );
      for (const [name, value] of Object.entries(saved)) {
        if (!kinds.includes(name))
          throw new UserError(
            'checkpoint',
            `the optimizer state holds '${name}', expected ${kinds.map((kind) => `'${kind}'`).join(', ')}: ` +
              'it was written by another --optimizer.',
          );
        if (typeof value !== 'number' && value.ndim > 0 && value.shape.join() !== parameter.shape.join())
          throw new UserError(
            'checkpoint',
            `the optimizer state '${name}' has shape [${value.shape.join(', ')}], its parameter [${parameter.shape.join(', ')}].`,
          );
      }
    }
  }

  /** Takes over a saved state, once all of it is known to fit. */
  loadStateDict(dict: OptimizerState): void {
    this.checkStateDict(dict);
    const params = this.groups.flatMap((group) => group.params);
    for (const [i, group] of this.groups.entries()) {
      const { lr, weight_decay } = dict.paramGroups[i].settings;
      group.lr = Number(lr);
      group.weightDecay = Number(weight_decay);
    }
    this.states.clear();
    const places = placesOf(dict);
    noGrad(() => {
      for (const [number, saved] of dict.state) {
        const parameter = params[places.get(number) as number];
        const own = this.stateOf(parameter);
        for (const [name, value] of Object.entries(saved)) {
          // `step` is a number in older files and a 0-d tensor in newer ones.
          own[name] =
            typeof value === 'number'
              ? value
              : value.ndim === 0
                ? value.item()
                : new Buffer(value.to({ device: parameter.device, copy: true }));
        }
      }
    });
  }
}

/** Where the parameters of a saved state stand in its groups: their numbers there need not be in order. */
function placesOf({ paramGroups }: OptimizerState): Map<number, number> {
  return new Map(paramGroups.flatMap(({ params }) => params).map((number, place) => [number, place]));
}
