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

  loadStateDict(dict: OptimizerState): void {
    const params = this.groups.flatMap((group) => group.params);
    const expected = this.groups.map((group) => group.params.length).join(' + ');
    const found = dict.paramGroups.map((group) => group.params.length).join(' + ');
    if (expected !== found)
      throw new UserError(
        'checkpoint',
        `the optimizer state is for ${found} parameters, this network has ${expected}. ` +
          'It was written with another architecture or other heads.',
      );
    for (const [i, group] of this.groups.entries()) {
      const { lr, weight_decay } = dict.paramGroups[i].settings;
      group.lr = Number(lr);
      group.weightDecay = Number(weight_decay);
    }
    this.states.clear();
    noGrad(() => {
      for (const [i, saved] of dict.state) {
        const parameter = params[i];
        const own = this.stateOf(parameter);
        for (const [name, value] of Object.entries(saved)) {
          // `step` is a number in older files and a 0-d tensor in newer ones.
          own[name] =
            typeof value === 'number'
              ? value
              : value.ndim === 0
                ? value.item()
                : copyLike(value, parameter, name);
        }
      }
    });
  }
}

function copyLike(value: Tensor, parameter: Parameter, name: string): Buffer {
  if (value.shape.join() !== parameter.shape.join())
    throw new UserError(
      'checkpoint',
      `the optimizer state '${name}' has shape [${value.shape.join(', ')}], its parameter [${parameter.shape.join(', ')}].`,
    );
  return new Buffer(value.to({ device: parameter.device, copy: true }));
}
