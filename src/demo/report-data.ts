/** What the demo's report is made from: numbers, words and pictures, nothing of the engine. */

import type { Match, Picture } from '../draw/index.js';

/** One row of the k-NN table; accuracies in percent. */
export interface KnnRow {
  name: string;
  top1: number;
  top5?: number;
}

export interface KnnResult {
  /** Neighbours that vote. */
  k: number;
  bankSize: number;
  querySize: number;
  classes: number;
  rawPixels: KnnRow;
  untrained: KnnRow;
  trained: KnnRow;
}

/** Values over iterations; `x` and `y` have one length. */
export interface Curve {
  x: ArrayLike<number>;
  y: ArrayLike<number>;
}

/** Whatever was measured is drawn; what is absent is left out. Losses and entropies are in nats. */
export interface TrainingCurves {
  loss: Curve;
  viewLoss?: Curve;
  regionLoss?: Curve;
  teacherEntropy?: Curve;
  studentEntropy?: Curve;
  /** Divergence of the student's from the teacher's distribution. */
  kl?: Curve;
  featureStd?: Curve;
  effectiveRank?: Curve;
  gradientNorm?: Curve;
  centreNorm?: Curve;
  lr?: Curve;
  momentum?: Curve;
  imagesPerSecond?: Curve;
}

export interface CropRow {
  /** The global views first. */
  views: readonly Picture[];
}

export interface Neighbour {
  picture: Picture;
  label: string;
  /** Cosine similarity to the query. */
  similarity: number;
}

export interface NeighbourRow {
  query: { picture: Picture; label: string };
  neighbours: readonly Neighbour[];
}

export interface CorrespondencePanel {
  left: Picture;
  right: Picture;
  matches: readonly Match[];
  /** Which network this is, and what to see. */
  caption: string;
  /** Share of matches that land where the geometry says, 0..1, where the geometry is known. */
  accuracy?: number;
}

export interface ReportData {
  title: string;
  /** Wall time of the pre-training alone. */
  trainSeconds: number;
  trainPictures: number;
  iterations: number;
  outDim: number;
  knn: KnnResult;
  /** The run's own verdict on its health, in words. */
  health: { verdict: string; hint?: string };
  curves: TrainingCurves;
  /** A few pictures of one batch, each with all its crops. */
  crops: readonly CropRow[];
  neighbours: readonly NeighbourRow[];
  correspondences: readonly CorrespondencePanel[];
  /** The resolved configuration as text (YAML or JSON). */
  config: string;
  /** The command that makes this report again. */
  command: string;
  /** Machine, versions and the like, shown as they are. */
  facts: readonly (readonly [name: string, value: string])[];
}
