/** Contrast between pictures against its definition, with gradients by autograd; and the same over two ranks. */

import { describe, expect, it } from 'vitest';
import { alone, type Collectives } from '../../src/dist/index.js';
import { Contrast, type MultiCropOutput } from '../../src/ssl/index.js';
import {
  backward,
  cat,
  manualSeed,
  randn,
  scope,
  stack,
  type Tensor,
  tensor,
} from '../../src/torch/index.js';

const WIDTH = 6;
const TEMPERATURE = 0.3;

const unit = (x: Tensor) => x.div(x.norm(2, [-1], true));

/** Embeddings of two global and `local` more views of `pictures`. */
function output(embedding: Tensor, local: number): MultiCropOutput {
  const groups = [{ views: 2, regions: 4 }, ...(local > 0 ? [{ views: local, regions: 1 }] : [])];
  return { cls: embedding, embedding, groups };
}

/** -log of the share that the other view of the same picture has among all others, row by row; its mean. */
function byDefinition(z: Tensor): Tensor {
  const rows = z.shape[0];
  const values: Tensor[] = [];
  for (let i = 0; i < rows; i++) {
    const similarity = z.matmul(z.select(0, i)).div(TEMPERATURE);
    const others = Array.from({ length: rows }, (_, j) => j).filter((j) => j !== i);
    const all = stack(others.map((j) => similarity.select(0, j)));
    values.push(all.logsumexp([0]).sub(similarity.select(0, (i + rows / 2) % rows)));
  }
  return stack(values).meanAll();
}

/** Rank `rank` of two that hold `own` rows each. */
function oneOfTwo(rank: number, both: readonly Tensor[]): Collectives {
  return {
    ...alone,
    rank,
    worldSize: 2,
    allGather: (x: Tensor) =>
      x.dtype === 'int32' ? tensor([x.item(), x.item()], { dtype: 'int32' }) : stack([...both]),
  } as Collectives;
}

describe('contrast between pictures', () => {
  it.each([
    [1, 0],
    [2, 3],
    [7, 1],
  ])(
    'has the loss and the gradient of its definition for %i pictures with %i local views',
    (pictures, local) => {
      scope(() => {
        manualSeed(3);
        const leaf = randn([pictures * (2 + local), WIDTH]);
        leaf.requiresGrad = true;
        const mine = new Contrast(0.7, TEMPERATURE, alone).forward(output(unit(leaf).detach(), local));
        const wanted = byDefinition(unit(leaf).narrow(0, 0, 2 * pictures));
        expect(mine.loss.item()).toBeCloseTo(wanted.item(), 5);
        backward([wanted.mul(0.7)], [tensor(1, { shape: [] })]);
        const expected = (leaf.grad as Tensor).clone();
        const other = leaf.detach().clone();
        other.requiresGrad = true;
        backward([unit(other)], [mine.gradient]);
        expect((other.grad as Tensor).sub(expected).abs().max().item()).toBeLessThan(2e-6);
        // only the global views are contrasted
        if (local > 0)
          expect(
            mine.gradient
              .narrow(0, 2 * pictures, pictures * local)
              .abs()
              .max()
              .item(),
          ).toBe(0);
      });
    },
  );

  it('is that of all pictures together over two ranks', () => {
    scope(() => {
      manualSeed(4);
      const pictures = 3;
      const both = [0, 1].map(() => unit(randn([2 * pictures, WIDTH])));
      const view = (rank: number, which: number) => both[rank].narrow(0, which * pictures, pictures);
      const together = cat([view(0, 0), view(1, 0), view(0, 1), view(1, 1)]);
      const whole = new Contrast(1, TEMPERATURE, alone).forward(output(together, 0));
      for (const rank of [0, 1]) {
        const part = new Contrast(1, TEMPERATURE, oneOfTwo(rank, both)).forward(output(both[rank], 0));
        expect(part.loss.item()).toBeCloseTo(whole.loss.item(), 5);
        const expected = cat(
          [rank, rank + 2].map((place) => whole.gradient.narrow(0, place * pictures, pictures)),
        );
        // gradients are averaged over the ranks afterwards
        expect(part.gradient.div(2).sub(expected).abs().max().item()).toBeLessThan(2e-6);
      }
    });
  });
});
