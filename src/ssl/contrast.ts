/**
 * Contrast between pictures: the two global views of a picture are to be told from those of all others.
 *
 * NT-Xent of SimCLR (Chen et al. 2020, arXiv 2002.05709, eq. 1) on the student's own embeddings, beside the paper's two
 * tasks. Self-labelling starts from what a random teacher happens to say; on small data with few steps that is mostly
 * noise. This term has something to say from the first step on.
 */

import { type Collectives, gatherRows } from '../dist/index.js';
import { arange, noGrad, scope, type Tensor, zeros } from '../torch/index.js';
import { cropsOf, type MultiCropOutput } from './multi-crop.js';

/** The views that are contrasted are the two global ones. */
const VIEWS = 2;

export interface ContrastResult {
  /** float32 scalar, unweighted; the same on all ranks */
  loss: Tensor;
  /** the student's embeddings, and the gradient of the weighted loss with respect to them */
  root: Tensor;
  gradient: Tensor;
}

export class Contrast {
  constructor(
    /** beside the loss of the paper */
    readonly weight: number,
    readonly temperature: number,
    private readonly collectives: Collectives,
  ) {}

  /** The pictures of all ranks are told apart; memory is that of two matrices of (2 * pictures)². */
  forward(output: MultiCropOutput): ContrastResult {
    return noGrad(() =>
      scope(() => {
        const { embedding } = output;
        if (embedding === undefined) throw new Error('internal: contrast needs the embeddings of the views');
        const { collectives, temperature } = this;
        const own = (embedding.shape[0] / cropsOf(output)) * VIEWS;
        const z = gatherRows(collectives, embedding.narrow(0, 0, own).to({ dtype: 'float32' }));
        const rows = z.shape[0];
        const start = collectives.rank * own;
        // A picture's other view lies half of a rank's rows away.
        const number = arange(0, rows, undefined, { dtype: 'int64', device: z.device });
        const place = number.remainder(own);
        const partner = number
          .sub(place)
          .add_(place.add(own / VIEWS).remainder(own))
          .unsqueeze(1);
        const logits = z.matmul(z.t()).div_(temperature);
        const column = (value: number) => zeros([rows, 1], { device: z.device }).add_(value);
        logits.scatter_(1, number.unsqueeze(1), column(Number.NEGATIVE_INFINITY)); // nobody is told from itself
        const logSum = logits.logsumexp([1], true);
        const loss = logSum.sub(logits.gather(1, partner)).meanAll();
        // d loss / d logits: what is said less what is right, of each row
        const error = logits.sub_(logSum).exp_();
        error.scatterAdd_(1, partner, column(-1));
        const both = error.narrow(0, start, own).add(error.narrow(1, start, own).t());
        const gradient = zeros([...embedding.shape], { dtype: 'float32', device: z.device });
        // The gradients of all ranks are averaged afterwards: each counts as often as there are ranks.
        const scale = (this.weight * collectives.worldSize) / (rows * temperature);
        gradient.narrow(0, 0, own).copy_(both.matmul(z).mul_(scale));
        return { loss, root: embedding, gradient };
      }),
    );
  }
}
