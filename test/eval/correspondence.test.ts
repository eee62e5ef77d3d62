/** Region matching and its scores, where the truth is known. */

import { describe, expect, it } from 'vitest';
import {
  bestPlace,
  type GridSize,
  matchRegions,
  placeOf,
  rankedMatches,
  scoreMatches,
  unitRows,
} from '../../src/eval/index.js';
import { manualSeed, randn } from '../../src/torch/index.js';

const GRID: GridSize = [3, 4];

function regions() {
  manualSeed(3);
  return unitRows(randn([12, 16]));
}

describe('region matching', () => {
  it('finds every region of a picture in itself, and in its mirrored self', () => {
    const own = regions();
    const same = rankedMatches(matchRegions(own, own));
    const size = [30, 40] as const;
    expect(scoreMatches(same, { grid: GRID, map: (place) => place, size })).toMatchObject({
      accuracy: 1,
      distance: 0,
      count: 12,
    });
    const mirrored = unitRows(own.reshape([3, 4, 16]).flip([1]).reshape([12, 16]));
    const matches = rankedMatches(matchRegions(own, mirrored));
    expect(scoreMatches(matches, { grid: GRID, map: ([x, y]) => [1 - x, y], size })?.accuracy).toBe(1);
    expect(scoreMatches(matches, { grid: GRID, map: (place) => place, size })?.accuracy).toBe(0);
  });

  it('measures a miss in pixels, and forgives the next region where told', () => {
    const options = { grid: GRID, map: (place: readonly [number, number]) => place, size: [30, 40] as const };
    const off = [{ query: 0, match: 1, similarity: 0.5 }];
    expect(scoreMatches(off, options)).toEqual({ accuracy: 0, distance: 10, similarity: 0.5, count: 1 });
    expect(scoreMatches(off, { ...options, tolerance: 1 })?.accuracy).toBe(1);
  });

  it('judges only what the second picture shows', () => {
    const own = regions();
    const matches = rankedMatches(matchRegions(own, own));
    const shifted = scoreMatches(matches, { grid: GRID, map: ([x, y]) => [x + 0.5, y], size: [30, 40] });
    expect(shifted?.count).toBe(6);
    expect(scoreMatches(matches, { grid: GRID, map: () => [2, 2], size: [30, 40] })).toBeUndefined();
  });

  it('ranks by similarity, and places a whole feature', () => {
    const ranked = rankedMatches({
      index: Int32Array.of(1, 0, 2),
      similarity: Float32Array.of(0.5, 1, 0.25),
    });
    expect(ranked.map(({ query }) => query)).toEqual([1, 0, 2]);
    const own = regions();
    const best = bestPlace(own.select(0, 7).mul(3), own);
    expect(best.region).toBe(7);
    expect(best.similarity).toBeCloseTo(1, 5);
    expect(placeOf(7, GRID)).toEqual([3.5 / 4, 1.5 / 3]);
  });
});
