import { describe, expect, it } from 'vitest';
import { dirichlet, symmetricBeta } from '../../src/data/distributions.js';
import {
  type AugmentRecipe,
  type AutoAugment,
  applyRecipe,
  CropLoader,
  drawAutoAugment,
  type ErasePolicy,
  erase,
  eraseBoxes,
  isStepName,
  levelArguments,
  networkInput,
  openImages,
  type PolicyName,
  type PolicyOptions,
  parseAutoAugment,
  policyPlan,
  RANDOM_ERASING,
  RandomStream,
  type RetouchStep,
  retouched,
} from '../../src/data/index.js';
import { full, liveTensors, scope, zeros } from '../../src/torch/index.js';
import { render, writePictures } from './pictures.js';

const settings = {
  fill: [124, 116, 104],
  filters: ['bicubic'],
  translateConst: 14,
  translatePct: 0.45,
} as const;
const size = { width: 32, height: 32 };

function parsed(text: string): AutoAugment {
  const augment = parseAutoAugment(text);
  if (augment === undefined) throw new Error(`${text} means no augmentation`);
  return augment;
}

/** Recipes of `n` pictures. */
function draw(
  text: string,
  n: number,
  filters: readonly ('bilinear' | 'bicubic')[] = ['bicubic'],
): AugmentRecipe[] {
  const random = new RandomStream();
  const augment = parsed(text);
  return Array.from({ length: n }, (_, i) =>
    drawAutoAugment(random.key(4, 0, i, 1), augment, { ...settings, filters }, size),
  );
}

function stepsOf(recipes: readonly AugmentRecipe[]): RetouchStep[] {
  return recipes.flatMap((recipe) => (recipe.kind === 'steps' ? recipe.steps : recipe.chains.flat()));
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('strings of automatic augmentation', () => {
  it('say what is meant', () => {
    expect(parsed('rand-m9-mstd0.5-inc1')).toMatchObject({
      kind: 'rand',
      magnitude: 9,
      spread: 0.5,
      layers: 2,
      probability: 0.5,
      limit: 10,
    });
    expect(parsed('rand-m9-mstd0.5-inc1')).toHaveProperty('steps.4', 'PosterizeIncreasing');
    expect(parsed('rand-n3-w0-p0.7-inc0-mmax8')).toMatchObject({
      layers: 3,
      magnitude: 10,
      probability: 0.7,
      limit: 8,
      steps: expect.arrayContaining(['Posterize']) as string[],
      weights: expect.any(Array) as number[],
    });
    expect(parsed('rand-m5-mstd101')).toMatchObject({ spread: Number.POSITIVE_INFINITY });
    expect(parsed('augmix-m5-w4-d2-a0.5-b1')).toMatchObject({
      kind: 'mix',
      magnitude: 5,
      width: 4,
      depth: 2,
      alpha: 0.5,
      isBlended: true,
    });
    expect(parsed('original-mstd0.5')).toMatchObject({ kind: 'policy', spread: 0.5 });
    for (const name of ['v0', 'v0r', 'original', 'originalr']) {
      const augment = parsed(name);
      if (augment.kind !== 'policy') throw new Error(name);
      expect(augment.policy).toHaveLength(25);
      const names = augment.policy.flat().map(([step]) => step);
      expect(names.every(isStepName)).toBe(true);
      expect(names.includes('PosterizeIncreasing')).toBe(name.endsWith('r'));
    }
    for (const none of ['', 'none', 'None']) expect(parseAutoAugment(none)).toBeUndefined();
  });

  it.each([
    ['rand-m9-x1', "received 'x1'"],
    ['rand-m', "received 'm'"],
    ['rand-m9-m8', 'twice'],
    ['randm9', "received 'randm9'"],
    ['rand-inc2', '0 to 1 after inc, received 2'],
    ['rand-n1.5', 'whole number after n'],
    ['rand-w1', 'after w, received 1'],
    ['rand-w0-n14', 'at most 13 beside w0'],
    ['rand-p1.5', '0 to 1 after p'],
    ['augmix-w0', '1 to 100 after w'],
    ['v2', 'v0, v0r, original, originalr'],
    ['original-m9', "received 'm9'"],
  ])('%s is refused', (text, message) => {
    expect(() => parseAutoAugment(text)).toThrow(message);
  });

  it('draw as many steps as they should, all of them, with random signs and filters', () => {
    const recipes = draw('rand-m9-mstd0.5-inc1', 3000, ['bilinear', 'bicubic']);
    const steps = stepsOf(recipes);
    expect(steps.length / recipes.length).toBeCloseTo(1, 1); // two drawn, each with probability 0.5
    const names = new Map<string, number>();
    for (const { op } of steps) names.set(op, (names.get(op) ?? 0) + 1);
    expect(names.size).toBe(15);
    for (const count of names.values()) expect(count / steps.length).toBeCloseTo(1 / 15, 1.4);
    const turns = steps.flatMap((step) => (step.op === 'rotate' ? [step] : []));
    expect(Math.abs(mean(turns.map(({ by }) => Math.sign(by))))).toBeLessThan(0.25);
    expect(mean(turns.map(({ by }) => Math.abs(by)))).toBeCloseTo(27, 0);
    expect(Math.max(...turns.map(({ by }) => Math.abs(by)))).toBeLessThanOrEqual(30);
    expect(mean(turns.map(({ filter }) => (filter === 'bicubic' ? 1 : 0)))).toBeCloseTo(0.5, 0.5);
  });

  it('draw by weights without drawing a step twice', () => {
    for (const recipe of draw('rand-n13-w0-p1', 20)) {
      const names = stepsOf([recipe]).map(({ op }) => op);
      expect(new Set(names).size).toBe(13);
      expect(names).not.toContain('invert');
      expect(names).not.toContain('posterize');
    }
    const first = draw('rand-n1-w0-p1', 2000).map((recipe) => stepsOf([recipe])[0].op);
    expect(first.filter((op) => op === 'rotate').length / first.length).toBeCloseTo(0.3, 1);
  });

  it('spread magnitudes evenly where mstd is beyond all bounds', () => {
    const turns = stepsOf(draw('rand-m10-mstdinf-p1', 3000)).flatMap((step) =>
      step.op === 'rotate' ? [Math.abs(step.by)] : [],
    );
    expect(mean(turns)).toBeGreaterThan(13);
    expect(mean(turns)).toBeLessThan(17);
  });

  it('keep the levels of the steps on their scales', () => {
    expect(levelArguments('PosterizeOriginal', 8, settings)).toEqual([7]);
    expect(levelArguments('TranslateX', 10, settings)).toEqual([14, -14]);
    expect(levelArguments('Color', 5, settings)).toEqual([1]);
    expect(levelArguments('Invert', 5, settings)).toEqual([]);
  });
});

describe('AugMix', () => {
  const picture = render(32, 32, 3);
  const place = { offset: 0, ...size };

  it('adds chains up by weights that sum to 1, and blends the sum with the picture', () => {
    for (const recipe of draw('augmix-m5-w4-d2', 10)) {
      if (recipe.kind !== 'mix') throw new Error('no mixture');
      const { chains, weights, share } = recipe;
      expect(chains).toHaveLength(4);
      expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 12);
      const pixels = picture.data.slice();
      applyRecipe(pixels, place, recipe);
      const parts = chains.map((steps) => retouched(picture, steps).data);
      for (let i = 0; i < pixels.length; i++) {
        const sum = weights.reduce((total, weight, k) => total + weight * parts[k][i], 0);
        const expected = picture.data[i] * (1 - share) + sum * share;
        expect(Math.abs(pixels[i] - expected)).toBeLessThan(2.01); // two cuts of fractions
      }
    }
  });

  it('comes to the same when it blends chain by chain, but for roundings', () => {
    for (const recipe of draw('augmix-m5', 10)) {
      if (recipe.kind !== 'mix') throw new Error('no mixture');
      const [added, blended] = [false, true].map((isBlended) => {
        const pixels = picture.data.slice();
        applyRecipe(pixels, place, { ...recipe, isBlended });
        return pixels;
      });
      const differences = added.map((value, i) => Math.abs(value - blended[i]));
      expect(Math.max(...differences)).toBeLessThanOrEqual(4);
    }
  });

  it('draws shares by beta and Dirichlet distributions', () => {
    const random = new RandomStream().key(9, 0, 0, 1);
    for (const alpha of [0.2, 0.8, 1, 4]) {
      const values = Array.from({ length: 20_000 }, () => symmetricBeta(random, alpha));
      expect(mean(values)).toBeCloseTo(0.5, 1.7);
      const variance = mean(values.map((value) => (value - 0.5) ** 2));
      expect(variance / (1 / (4 * (2 * alpha + 1)))).toBeCloseTo(1, 1.2);
    }
    const tiny = Array.from({ length: 500 }, () => symmetricBeta(random, 1e-3));
    expect(tiny.every((value) => value >= 0 && value <= 1)).toBe(true);
    const parts = dirichlet(random, 0.5, 6);
    expect(parts.reduce((sum, part) => sum + part, 0)).toBeCloseTo(1, 12);
  });
});

describe('random erasing', () => {
  const policy: ErasePolicy = { ...RANDOM_ERASING, probability: 1 };

  it('draws rectangles inside the crop, up to the count', () => {
    const random = new RandomStream();
    const counts = new Set<number>();
    for (let i = 0; i < 500; i++) {
      const boxes = eraseBoxes(random.key(0, 0, i, 1), 20, 30, { ...policy, count: 3 });
      counts.add(boxes.length);
      for (const { top, left, height, width } of boxes) {
        expect(top >= 0 && left >= 0 && height > 0 && width > 0).toBe(true);
        expect(top + height <= 20 && left + width <= 30).toBe(true);
      }
    }
    expect([...counts].sort()).toEqual([1, 2, 3]);
    expect(eraseBoxes(random, 20, 30, { ...policy, probability: 0 })).toEqual([]);
    expect(eraseBoxes(random, 1, 1, policy)).toEqual([]);
  });

  it.each(['const', 'rand', 'pixel'] as const)(
    'fills with %s, and each rectangle on its own account',
    (mode) => {
      const before = liveTensors();
      const values = (rows: number[]) =>
        scope(() => {
          const x = full([rows.length, 3, 8, 8], 5, { dtype: 'float32' });
          erase(x, {
            mode,
            count: 2,
            boxes: Int32Array.from(rows.flatMap((row) => [row, 1, 3, 4, 0, 0, 0, 0])),
            keys: Int32Array.from(rows.map((row) => row * 77 - 5)),
          });
          return rows.map((row, i) => {
            const crop = x.select(0, i).contiguous();
            const part = crop.narrow(1, row, 3).narrow(2, 1, 4).contiguous().toFloat32();
            expect(
              crop
                .eq(full([1], 5))
                .to({ dtype: 'int64' })
                .sumAll()
                .item(),
            ).toBe(3 * (64 - 12));
            return part;
          });
        });
      const both = values([1, 4]);
      expect(values([4])[0]).toEqual(both[1]); // whatever else is in the batch
      expect(new Set(both[0]).size).toBe({ const: 1, rand: 3, pixel: 36 }[mode]);
      if (mode === 'const') expect(both[0][0]).toBe(0);
      else expect(both[0]).not.toEqual(both[1]);
      expect(liveTensors()).toBe(before);
    },
  );

  it('leaves crops without rectangles alone', () => {
    scope(() => {
      const x = zeros([2, 3, 4, 4]);
      erase(x, { mode: 'pixel', count: 1, boxes: new Int32Array(8), keys: new Int32Array(2) });
      expect(x.abs().sumAll().item()).toBe(0);
    });
  });
});

describe('the policies', () => {
  const crops: PolicyOptions = { globalSize: 32, localSizes: [16, 12], localCounts: [2, 1] };
  const choices: [PolicyName, PolicyOptions][] = [
    ['mocov2_aug', {}],
    ['basic_aug', {}],
    ['deit_aug', { erasing: { ...RANDOM_ERASING, count: 2 }, interpolation: 'random' }],
    ['deit_aug', { autoAugment: 'augmix', erasing: { ...RANDOM_ERASING, mode: 'rand' } }],
    ['deit_aug', { autoAugment: 'none', erasing: { ...RANDOM_ERASING, mode: 'const' } }],
  ];

  it.each(choices)(
    '%s %j gives the same with any number of workers, whoever changes colours',
    async (name, more) => {
      const source = await openImages(await writePictures(8, 40));
      const plan = policyPlan(name, { ...crops, ...more });
      const before = liveTensors();
      const inputs = async (photometric: 'workers' | 'device', workers: number, epoch = 1) => {
        const loader = new CropLoader({ source, plan, seed: 3, batchSize: 4, workers, photometric });
        const seen: string[] = [];
        for await (const { groups } of loader.batches(epoch))
          for (const group of groups)
            seen.push(Buffer.from(scope(() => networkInput(group).bytes())).toString('base64'));
        await loader.close();
        return seen;
      };
      const reference = await inputs('device', 0);
      expect(reference).toHaveLength(6);
      expect(await inputs('workers', 0)).toEqual(reference);
      expect(await inputs('workers', 2)).toEqual(reference);
      expect((await inputs('device', 0, 2))[0]).not.toBe(reference[0]);
      expect(liveTensors()).toBe(before);
    },
  );

  it('differ in what their names promise', () => {
    const dino = policyPlan('dino_aug', crops);
    expect(dino.groups[0]).toMatchObject({ blur: [1, 0.1], solarize: [0, 0.2] });
    const moco = policyPlan('mocov2_aug', crops);
    expect(moco.groups[1]).toMatchObject({ blur: [0.5, 0.5], solarize: [0, 0] });
    expect(moco.photometric).toMatchObject({ jitter: 0.8, saturation: [0.6, 1.4], gray: 0.2 });
    const basic = policyPlan('basic_aug', crops);
    expect(basic).toMatchObject({ flip: 0.5, photometric: { jitter: 0, gray: 0 } });
    expect(basic.autoAugment).toBeUndefined();
    const deit = policyPlan('deit_aug', { ...crops, erasing: RANDOM_ERASING });
    expect(deit).toMatchObject({
      filters: ['bicubic'],
      photometric: { jitter: 0 },
      erasing: { mode: 'pixel' },
    });
    const plain = policyPlan('deit_aug', { ...crops, autoAugment: 'none', colorJitter: 0.3 });
    expect(plain.photometric).toMatchObject({ jitter: 1, brightness: [0.7, 1.3], hue: [0, 0] });
    expect(plain.erasing).toBeUndefined();
  });

  it('spare the first view of each picture from erasing where that is asked for', async () => {
    const source = await openImages(await writePictures(6, 40));
    const erasing = { ...RANDOM_ERASING, probability: 1, mode: 'const' } as const;
    const plan = policyPlan('deit_aug', { ...crops, autoAugment: 'none', erasing, sparesFirstView: true });
    const loader = new CropLoader({ source, plan, seed: 1, batchSize: 6 });
    for await (const { groups } of loader.batches(0))
      for (const { erasing: draws, views, role } of groups)
        for (let view = 0; view < views; view++) {
          const heights = Array.from(draws!.boxes.subarray(view * 24, view * 24 + 24)).filter(
            (_, i) => i % 4 === 2,
          );
          if (role === 'global' && view === 0) expect(heights).toEqual([0, 0, 0, 0, 0, 0]);
          else expect(heights.every((height) => height > 0)).toBe(true);
        }
    await loader.close();
  });
});
