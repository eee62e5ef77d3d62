/** Rank 0's state for all ranks, whatever it was read from: only rank 0 needs the file. */

import { type Collectives, sharedValue } from '../dist/index.js';
import type { OptimizerState } from '../optim/index.js';
import { type DType, manualSeed, noGrad, scope, setRngState, type Tensor, zeros } from '../torch/index.js';
import type { Position } from './checkpoint.js';
import type { StepState } from './step.js';

interface TensorKind {
  shape: readonly number[];
  dtype: DType;
}

/** All of rank 0's state but its tensors. */
interface Outline {
  position: Omit<Position, 'rankRng'>;
  optimizer: [number, Record<string, number | TensorKind>][];
  groups: OptimizerState['paramGroups'];
  scaler: Record<string, number> | null;
  /** the ranks whose random states are there */
  rngs: number;
  /** whether the run goes on from an earlier one */
  isResumed: boolean;
}

/**
 * Weights, buffers, centres, optimiser and position of rank 0 go to all. Random states too where the checkpoint holds
 * one for each of these ranks; else each rank but 0 draws from a seed of its own.
 */
export function spreadState(
  collectives: Collectives,
  state: StepState,
  position: Position,
  seed: number,
): Position {
  const { student, teacher, loss, optimizer, scaler } = state;
  const { rank, worldSize } = collectives;
  const isFirst = rank === 0;
  return noGrad(() =>
    scope(() => {
      const own = optimizer.stateDict();
      const outline = sharedValue(collectives, (): Outline => {
        const { rankRng, ...place } = position;
        return {
          position: place,
          optimizer: [...own.state].map(([number, values]) => [number, kindsOf(values)]),
          groups: own.paramGroups,
          scaler: scaler?.stateDict() ?? null,
          rngs: rankRng?.shape[0] ?? 0,
          isResumed: place.epoch > 0 || place.step > 0,
        };
      });
      for (const module of [student, teacher, loss])
        for (const value of module.stateDict().values()) collectives.broadcast(value);

      const { device } = student.parameters()[0];
      const states = new Map(
        outline.optimizer.map(([number, kinds]) => {
          const values = Object.entries(kinds).map(([name, kind]): [string, Tensor | number] => {
            if (typeof kind === 'number') return [name, kind];
            const value = isFirst
              ? (own.state.get(number)?.[name] as Tensor)
              : zeros(kind.shape, { dtype: kind.dtype, device });
            collectives.broadcast(value);
            return [name, value];
          });
          return [number, Object.fromEntries(values)];
        }),
      );
      if (!isFirst && states.size > 0)
        optimizer.loadStateDict({ state: states, paramGroups: outline.groups });
      if (!isFirst && outline.scaler !== null) scaler?.loadStateDict(outline.scaler);
      const place: Position = { ...outline.position, sums: { ...outline.position.sums } };
      if (outline.rngs === worldSize) {
        const length = sharedValue(collectives, () => position.rankRng?.shape[1] ?? 0);
        const all = isFirst
          ? (position.rankRng as Tensor).contiguous()
          : zeros([worldSize, length], { dtype: 'uint8' });
        collectives.broadcast(all);
        setRngState(all.select(0, rank).clone(), 'cpu');
      } else if (rank > 0 || outline.rngs > 0) {
        manualSeed(seedOf(seed, place, rank));
      }
      return place;
    }),
  );
}

function kindsOf(values: Record<string, Tensor | number>): Record<string, number | TensorKind> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      typeof value === 'number' ? value : { shape: value.shape, dtype: value.dtype },
    ]),
  );
}

/** Differs between ranks, and between the places where a run was taken up by another number of them. */
function seedOf(seed: number, { epoch, step }: Position, rank: number): number {
  return (seed + 1_000_003 * rank + 7_919 * epoch + 104_729 * step) % 2 ** 48;
}
