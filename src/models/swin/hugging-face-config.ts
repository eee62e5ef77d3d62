/** The two JSON files beside the weights in a folder of Hugging Face's `SwinModel`. */

import type { SwinLayout } from './swin-layout.js';

/** `config.json`. The norms' epsilon is the original's; the rate of drop path is no property of weights. */
export function swinModelConfig(layout: SwinLayout, imageSize: number, dtype: string): object {
  const { depths, embedDim, numHeads, patchSize } = layout;
  return {
    architectures: ['SwinModel'],
    attention_probs_dropout_prob: 0,
    depths,
    drop_path_rate: 0.1,
    embed_dim: embedDim,
    encoder_stride: patchSize * 2 ** (depths.length - 1),
    hidden_act: 'gelu',
    hidden_dropout_prob: 0,
    hidden_size: embedDim * 2 ** (depths.length - 1),
    image_size: imageSize,
    initializer_range: 0.02,
    layer_norm_eps: 1e-6,
    mlp_ratio: layout.mlpRatio,
    model_type: 'swin',
    num_channels: layout.inChannels,
    num_heads: numHeads,
    num_layers: depths.length,
    patch_size: patchSize,
    qkv_bias: layout.qkvBias,
    torch_dtype: dtype,
    use_absolute_embeddings: false,
    window_size: layout.windowSizes[0],
  };
}

/** `preprocessor_config.json`: the shorter side to 8/7 of the size (bicubic), the middle, ImageNet's colours. */
export function swinPreprocessorConfig(imageSize: number): object {
  return {
    image_processor_type: 'BitImageProcessor',
    do_convert_rgb: true,
    do_resize: true,
    size: { shortest_edge: Math.round((imageSize * 256) / 224) },
    resample: 3,
    do_center_crop: true,
    crop_size: { height: imageSize, width: imageSize },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: [0.485, 0.456, 0.406],
    image_std: [0.229, 0.224, 0.225],
  };
}
