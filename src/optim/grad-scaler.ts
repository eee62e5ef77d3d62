/** Loss scaling for float16, whose smallest numbers gradients would fall below. */

import type { Module } from '../nn/index.js';
import { foreachMul_, foreachNorm, noGrad, scope, stack } from '../torch/index.js';

const GROWTH = 2;
const BACKOFF = 0.5;
const GROWTH_INTERVAL = 2000;

/** PyTorch's GradScaler: halved when a gradient overflows (the step is left out), doubled after 2000 good steps. */
export class GradScaler {
  /** what gradients are multiplied by */
  scale = 2 ** 16;
  private goodSteps = 0;

  /** Divides all gradients by the scale; false where one of them is not finite. */
  unscale(module: Module): boolean {
    return noGrad(() =>
      scope(() => {
        const gradients = module.parameters().flatMap(({ grad }) => grad ?? []);
        if (gradients.length === 0) return true;
        foreachMul_(gradients, 1 / this.scale);
        // A sum of sizes is finite where all of them are.
        return stack(foreachNorm(gradients, 1)).isfinite().allAll().item() === 1;
      }),
    );
  }

  /** Settles the scale of the next step. */
  update(wasTaken: boolean): void {
    if (!wasTaken) {
      this.scale *= BACKOFF;
      this.goodSteps = 0;
    } else if (++this.goodSteps === GROWTH_INTERVAL) {
      this.scale *= GROWTH;
      this.goodSteps = 0;
    }
  }

  /** Under PyTorch's names. */
  stateDict(): Record<string, number> {
    return {
      scale: this.scale,
      growth_factor: GROWTH,
      backoff_factor: BACKOFF,
      growth_interval: GROWTH_INTERVAL,
      _growth_tracker: this.goodSteps,
    };
  }

  loadStateDict(state: Record<string, number>): void {
    this.scale = state.scale;
    this.goodSteps = state._growth_tracker;
  }
}
