/** Schedules at their edges; whole curves of the original are among the golden cases. */

import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { cosineAnnealing, cosineSchedule } from '../../src/optim/index.js';

const basic = { base: 1, final: 0.1, epochs: 5, iterationsPerEpoch: 4 };

describe('cosineSchedule', () => {
  it('has one value an iteration, and starts at the base without a warm-up', () => {
    const values = cosineSchedule(basic);
    expect(values).toHaveLength(20);
    expect(values[0]).toBe(1);
    expect(values[10]).toBeCloseTo(0.55, 12); // half-way
    expect(values[19]).toBeGreaterThan(0.1); // the final value itself would come one later
    for (let i = 1; i < 20; i++) expect(values[i]).toBeLessThan(values[i - 1]);
  });

  it('warms up in a line, with both ends', () => {
    const values = cosineSchedule({ ...basic, warmupEpochs: 2 });
    const expected = Array.from({ length: 8 }, (_, i) => i / 7);
    for (const [i, value] of expected.entries()) expect(values[i]).toBeCloseTo(value, 12);
    expect(values[7]).toBe(1);
    expect(values[8]).toBe(1); // the cosine starts at the base once more
    expect(values).toHaveLength(20);
  });

  it('warms up from another value', () => {
    const values = cosineSchedule({ ...basic, warmupEpochs: 1, startWarmup: 0.4 });
    expect([...values.slice(0, 4)].map((value) => Number(value.toFixed(12)))).toEqual([0.4, 0.6, 0.8, 1]);
  });

  it('may be all warm-up', () => {
    const values = cosineSchedule({ ...basic, warmupEpochs: 5 });
    expect(values).toHaveLength(20);
    expect(values[19]).toBe(1);
  });

  it('may warm up for a single iteration: that is its start', () => {
    const values = cosineSchedule({ ...basic, iterationsPerEpoch: 1, warmupEpochs: 1 });
    expect(values[0]).toBe(0);
    expect(values[1]).toBe(1);
  });

  it('may rise: weight decay, teacher momentum', () => {
    const values = cosineSchedule({ base: 0.996, final: 1, epochs: 10, iterationsPerEpoch: 10 });
    expect(values[0]).toBe(0.996);
    for (let i = 1; i < 100; i++) expect(values[i]).toBeGreaterThan(values[i - 1]);
    expect(values[99]).toBeLessThan(1);
  });

  it('may stand still', () => {
    const values = cosineSchedule({ base: 0.3, final: 0.3, epochs: 2, iterationsPerEpoch: 3 });
    expect([...values]).toEqual(Array(6).fill(0.3));
  });

  it('is empty where there is nothing to do', () => {
    expect(cosineSchedule({ ...basic, epochs: 0 })).toHaveLength(0);
  });

  it('refuses a warm-up that is longer than the run', () => {
    expect(() => cosineSchedule({ ...basic, warmupEpochs: 6 })).toThrow(UserError);
    expect(() => cosineSchedule({ ...basic, warmupEpochs: 6 })).toThrow(
      /6 epochs does not fit into 5.*--warmup_epochs/,
    );
  });
});

describe('cosineAnnealing', () => {
  it('falls from the base to exactly 0, one value an epoch and one after', () => {
    const values = cosineAnnealing(0.2, 4);
    expect(values).toHaveLength(5);
    expect([values[0], values[4]]).toEqual([0.2, 0]);
    expect(values[2]).toBeCloseTo(0.1, 12);
  });

  it('of one epoch has its two ends', () => {
    expect([...cosineAnnealing(0.2, 1)]).toEqual([0.2, 0]);
  });
});
