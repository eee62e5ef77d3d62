/** Accuracies that the authors published; nothing here was measured by this project. */

export interface PublishedResult {
  name: string;
  /** the registry's name of the backbone, and what its spec changes */
  arch: string;
  windowSize: number;
  /** in millions, as rounded there */
  parameters: number;
  /** ImageNet-1K top-1 in percent, by a linear classifier and by k-NN, on frozen features */
  linear: number;
  knn: number;
}

/** Where the figures stand. */
export const PUBLISHED_SOURCE =
  'Li et al., Efficient Self-supervised Vision Transformers, ICLR 2022 (arXiv 2106.09785), and the table of ' +
  'pretrained models of github.com/microsoft/esvit';

/** Both tasks, 300 epochs on ImageNet-1K, batch 512. */
export const PUBLISHED: readonly PublishedResult[] = [
  { name: 'EsViT Swin-T, W=7', arch: 'swin_tiny', windowSize: 7, parameters: 28, linear: 78.0, knn: 75.7 },
  { name: 'EsViT Swin-S, W=7', arch: 'swin_small', windowSize: 7, parameters: 49, linear: 79.5, knn: 77.7 },
  { name: 'EsViT Swin-B, W=7', arch: 'swin_base', windowSize: 7, parameters: 87, linear: 80.4, knn: 78.9 },
  { name: 'EsViT Swin-T, W=14', arch: 'swin_tiny', windowSize: 14, parameters: 28, linear: 78.7, knn: 77.0 },
  { name: 'EsViT Swin-S, W=14', arch: 'swin_small', windowSize: 14, parameters: 49, linear: 80.8, knn: 79.1 },
  { name: 'EsViT Swin-B, W=14', arch: 'swin_base', windowSize: 14, parameters: 87, linear: 81.3, knn: 79.3 },
];
