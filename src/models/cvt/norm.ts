/** Layer norm that keeps to float32 under mixed precision. */

import { LayerNorm } from '../../nn/index.js';
import { scope, type Tensor } from '../../torch/index.js';

export class Float32LayerNorm extends LayerNorm {
  /** x: [..., dim] -> the same shape and dtype, computed in float32 */
  override forward(x: Tensor): Tensor {
    if (x.dtype === 'float32') return super.forward(x);
    return scope(() => super.forward(x.to({ dtype: 'float32' })).to({ dtype: x.dtype }));
  }
}
