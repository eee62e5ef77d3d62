/**
 * Cross-entropy between teacher probabilities and student logits, with its gradient written down.
 *
 * For one row: -Σ q·log_softmax(x/τ) = s·logsumexp(x/τ) - q·x/τ with s = Σ q, and its gradient with respect to
 * x is (s·softmax(x/τ) - q)/τ. So several teachers of one student row cost one softmax, and nothing of size
 * rows x K is kept for each pair.
 */

import { crossEntropyPass, empty, fits, noGrad, scope, type Tensor } from '../torch/index.js';

/**
 * Rows are worked on in pieces of about this many elements: on a CPU so that temporaries stay in or near the cache; on
 * a GPU so many that launching the work does not take longer than the work.
 */
const PIECE = { cpu: 1 << 21, gpu: 1 << 25 } as const;

/**
 * student: [rows, K] logits; `targets(start, count)` gives for a range of rows the summed teacher probabilities
 * [count, K] and their total for each row (a number, or [count, 1]); weight: what each row counts. Writes the
 * gradient [rows, K] into `into.gradient` from row `into.start` on; the result is the loss, a float32 scalar.
 */
export function rowsCrossEntropy(
  student: Tensor,
  targets: (start: number, count: number) => { q: Tensor; total: number | Tensor },
  weight: number,
  temperature: number,
  into: { gradient: Tensor; start: number },
): Tensor {
  return noGrad(() =>
    scope(() => {
      const [rows, width] = student.sizes(2);
      const piece = Math.max(1, Math.floor((student.device === 'cpu' ? PIECE.cpu : PIECE.gpu) / width));
      let loss: Tensor | undefined;
      for (let start = 0; start < rows; start += piece) {
        const count = Math.min(piece, rows - start);
        const part = scope(() => {
          const { q, total } = targets(start, count);
          const z = into.gradient.narrow(0, into.start + start, count);
          if (fits(student))
            return crossEntropyPass(student.narrow(0, start, count), q, total, {
              factor: 1 / temperature,
              weight,
              gradient: z,
            });
          z.copy_(student.narrow(0, start, count)).mul_(1 / temperature);
          const logSum = z.logsumexp([-1], true);
          const value = logSum.mul(total).sumAll().sub(q.mul(z).sumAll());
          z.sub_(logSum).exp_();
          if (total !== 1) z.mul_(total);
          z.sub_(q).mul_(weight / temperature);
          return value.mul(weight);
        });
        loss = loss === undefined ? part : loss.add_(part);
      }
      return loss as Tensor;
    }),
  );
}

/** A gradient buffer of the student's logits: of their own dtype where it is written once, else float32 to work in. */
export function gradientFor(student: Tensor): Tensor {
  const dtype = fits(student) ? student.dtype : 'float32';
  return empty([...student.shape], { device: student.device, dtype });
}
