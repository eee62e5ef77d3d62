/** k-NN on features whose neighbours are known. */

import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { knnAccuracy, type LabelledFeatures } from '../../src/eval/index.js';
import { liveTensors, manualSeed, randn, scope, tensor } from '../../src/torch/index.js';

/** Unit vectors in the plane, by angle in degrees. */
function circle(...points: [angle: number, label: number][]): LabelledFeatures {
  const features = points.map(([angle]) => {
    const radians = (angle * Math.PI) / 180;
    return [Math.cos(radians), Math.sin(radians)];
  });
  return { features: tensor(features), labels: labels(points.map(([, label]) => label)) };
}

const labels = (values: readonly number[]) => tensor(BigInt64Array.from(values, BigInt));

/** Accuracies of one k and temperature. */
function accuracy(
  bank: LabelledFeatures,
  queries: LabelledFeatures,
  k: number,
  temperature = 0.07,
  numClasses?: number,
): [top1: number, top5: number] {
  const options = { ks: [k], temperatures: [temperature], ...(numClasses !== undefined && { numClasses }) };
  const [{ top1, top5 }] = knnAccuracy(bank, queries, options);
  return [top1, top5];
}

/** Each class has its own direction. */
const six = circle(...[0, 1, 2, 3, 4, 5].map((label) => [label * 60, label] as [number, number]));

describe('votes', () => {
  it('of the nearest one', () => {
    expect(accuracy(six, circle([2, 0], [61, 1], [118, 2]), 1)).toEqual([100, 100]);
    expect(accuracy(six, circle([2, 0], [61, 0], [118, 1], [300, 5]), 1)[0]).toBe(50);
  });

  it('of many outvote the nearest', () => {
    const bank = circle([0, 0], [10, 1], [-10, 1], [12, 1]);
    const query = circle([1, 0]);
    expect(accuracy(bank, query, 1)[0]).toBe(100);
    expect(accuracy(bank, query, 4)[0]).toBe(0);
  });

  it('of the nearest weigh more, the more the lower the temperature', () => {
    const bank = circle([0, 0], [60, 1], [-60, 1]); // similarities 1, 0.5, 0.5
    const query = circle([0, 0]);
    // exp(1/T) against 2 exp(0.5/T): the one wins below T = 0.5 / ln 2
    expect(accuracy(bank, query, 3, 0.7)[0]).toBe(100);
    expect(accuracy(bank, query, 3, 0.74)[0]).toBe(0);
  });

  it('count all k and temperatures at once as one by one', () => {
    manualSeed(1);
    const random = (count: number): LabelledFeatures => {
      const features = randn([count, 8]);
      return {
        features: features.div(features.norm(2, [1], true)),
        labels: labels(Array.from({ length: count }, (_, i) => (i * 7) % 9)),
      };
    };
    const [bank, queries] = [random(200), random(50)];
    const [ks, temperatures] = [
      [1, 5, 20],
      [0.04, 0.5],
    ];
    const together = knnAccuracy(bank, queries, { ks, temperatures });
    expect(together.map(({ k, temperature }) => [k, temperature])).toEqual(
      ks.flatMap((k) => temperatures.map((temperature) => [k, temperature])),
    );
    for (const { k, temperature, top1, top5 } of together)
      expect(accuracy(bank, queries, k, temperature)).toEqual([top1, top5]);
  });
});

describe('top 5', () => {
  it('holds the five classes with most votes', () => {
    // similarity falls with the label; the sixth class is out
    const bank = circle(...[0, 1, 2, 3, 4, 5].map((label) => [label * 10, label] as [number, number]));
    const query = (label: number) => circle([0, label]);
    expect(accuracy(bank, query(4), 6)).toEqual([0, 100]);
    expect(accuracy(bank, query(5), 6)).toEqual([0, 0]);
  });

  it('with fewer than five classes is among all of them', () => {
    const bank = circle([0, 0], [90, 1], [180, 2]);
    expect(accuracy(bank, circle([0, 2]), 3)).toEqual([0, 100]);
    // also where no neighbour has the class
    expect(accuracy(bank, circle([0, 2]), 1)).toEqual([0, 100]);
    const one = circle([0, 0], [90, 0]);
    expect(accuracy(one, circle([5, 0]), 2)).toEqual([100, 100]);
  });
});

describe('sizes', () => {
  it('a k beyond the bank is cut to it', () => {
    const bank = circle([0, 0], [10, 1], [-10, 1]);
    const query = circle([0, 1]);
    expect(accuracy(bank, query, 200)).toEqual(accuracy(bank, query, 3));
    const [{ k }] = knnAccuracy(bank, query, { ks: [200], temperatures: [0.07] });
    expect(k).toBe(200); // under the name that was asked for
  });

  it('a bank of one picture answers everything with its class', () => {
    expect(accuracy(circle([0, 3]), circle([180, 3], [90, 2]), 20)[0]).toBe(50);
  });

  it('classes that only the queries have are never found, and break nothing', () => {
    expect(accuracy(six, circle([0, 9], [60, 1]), 1)).toEqual([50, 50]);
  });

  it('more classes than there are in the labels change nothing', () => {
    const query = circle([2, 0], [61, 2]);
    expect(accuracy(six, query, 6, 0.07, 1000)[0]).toBe(accuracy(six, query, 6)[0]);
  });

  it('many queries are worked on in pieces, with the same result', () => {
    manualSeed(2);
    // 2 * 600 pictures of 2 classes on opposite sides, in a bank that is large enough for several pieces
    const side = (count: number): LabelledFeatures =>
      circle(
        ...Array.from({ length: count }, (_, i) => [(i % 2) * 180 + (i % 37), i % 2] as [number, number]),
      );
    expect(accuracy(side(60_000), side(1201), 5)).toEqual([100, 100]);
  });

  it('empty sides and different widths are refused', () => {
    const empty = { features: randn([0, 2]), labels: labels([]) };
    expect(() => accuracy(empty, six, 1)).toThrow(UserError);
    expect(() => accuracy(empty, six, 1)).toThrow(/0 to vote and 6 to classify/);
    expect(() => accuracy(six, empty, 1)).toThrow(/6 to vote and 0 to classify/);
    const wide = { features: randn([2, 3]), labels: labels([0, 1]) };
    expect(() => accuracy(wide, six, 1)).toThrow(/width: 3 .* 2 /);
  });
});

it('leaves no tensors behind', () => {
  const query = circle([2, 0]);
  const before = liveTensors();
  scope(() => accuracy(six, query, 3));
  expect(liveTensors()).toBe(before);
});
