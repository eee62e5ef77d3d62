import { describe, expect, it } from 'vitest';
import {
  adjustHue,
  applyPhotometric,
  type ColourChanges,
  CropLoader,
  changeColours,
  changesOf,
  dinoPlan,
  networkInput,
  noChanges,
  normalise,
  openImages,
  type PhotometricDraws,
  RandomStream,
  toPlanes,
} from '../../src/data/index.js';
import { liveTensors, scope, tensor } from '../../src/torch/index.js';
import { render, writePictures } from './pictures.js';

/** [h, w, 3] bytes of one picture, changed by tensors. */
function byTensors(data: Uint8Array, width: number, height: number, draws: PhotometricDraws): Uint8Array {
  return scope(() => {
    const planes = toPlanes(tensor(data).view([1, height, width, 3]));
    return applyPhotometric(planes, draws).permute([0, 2, 3, 1]).to({ dtype: 'uint8' }).contiguous().bytes();
  });
}

/** Any choice of steps with factors beyond those of the recipes. */
function anyDraws(random: RandomStream): PhotometricDraws {
  const draws = noChanges(1);
  draws.order.set([0, 1, 2, 3]);
  random.shuffle(draws.order);
  const maybe = (low: number, high: number) => (random.chance(0.6) ? random.uniform(low, high) : Number.NaN);
  draws.brightness[0] = maybe(0, 2.5);
  draws.contrast[0] = maybe(0, 2.5);
  draws.saturation[0] = maybe(0, 2.5);
  draws.hue[0] = maybe(-0.5, 0.5);
  draws.gray[0] = random.chance(0.2) ? 1 : 0;
  draws.blurRadius[0] = random.chance(0.6) ? random.uniform(0.05, 6) : 0;
  draws.solarize[0] = random.chance(0.3) ? 1 + random.integer(2) : 0;
  return draws;
}

describe('colour changes by the addon', () => {
  it('equal those by tensors in every bit, for any steps and sizes', () => {
    const random = new RandomStream().key(5, 0, 0, 1);
    for (let i = 0; i < 150; i++) {
      const [width, height] =
        i < 6 ? [1 + (i % 3), 1 + (i >> 1)] : [1 + random.integer(60), 1 + random.integer(60)];
      const source = i % 2 === 0 ? render(width, height, i).data : noise(random, width * height);
      const draws = anyDraws(random);
      const pixels = source.slice();
      changeColours({ data: pixels, width, height }, changesOf(draws, 0));
      expect(Buffer.compare(pixels, byTensors(source, width, height, draws)), `picture ${i}`).toBe(0);
    }
  });

  it('turn the hue of a hundred thousand colours as tensors do', () => {
    const random = new RandomStream().key(6, 0, 0, 1);
    const side = 320;
    const source = noise(random, side * side);
    // Grey levels and ties between channels are rare among random colours.
    for (let i = 0; i < 256 * 3; i++) source.fill(i % 256, i * 3, i * 3 + 1 + Math.floor(i / 256));
    for (const turn of [-0.5, -0.1, -0.003, 0, 0.037, 0.1, 0.31]) {
      const pixels = source.slice();
      changeColours({ data: pixels, width: side, height: side }, { hue: turn });
      const expected = scope(() =>
        adjustHue(toPlanes(tensor(source).view([1, side, side, 3])), [turn])
          .permute([0, 2, 3, 1])
          .to({ dtype: 'uint8' })
          .contiguous()
          .bytes(),
      );
      expect(Buffer.compare(pixels, expected), `turn ${turn}`).toBe(0);
    }
  });

  it('leave the picture alone where nothing is asked for, and refuse what cannot be', () => {
    const picture = render(13, 7, 2);
    const pixels = picture.data.slice();
    changeColours({ ...picture, data: pixels }, {});
    expect(pixels).toEqual(picture.data);
    const change = (changes: ColourChanges) => () => changeColours(picture, changes);
    expect(change({ hue: 0.7 })).toThrow('hue');
    expect(change({ brightness: -1 })).toThrow('brightness');
    expect(change({ blurRadius: 0 })).toThrow('blur');
    expect(change({ order: [0, 1, 2, 4] })).toThrow('out of range');
    expect(() => changeColours({ ...picture, width: 14 }, {})).toThrow('outside its memory');
    expect(() => changeColours({ ...picture, width: Number.NaN }, {})).toThrow('out of range');
  });
});

function noise(random: RandomStream, pixels: number): Uint8Array {
  return Uint8Array.from({ length: pixels * 3 }, () => random.integer(256));
}

describe('the place of the colour changes', () => {
  it('does not show in what the network gets', async () => {
    const source = await openImages(await writePictures(12, 40));
    const plan = dinoPlan({ globalSize: 32, localSizes: [16, 12], localCounts: [3, 1] });
    const before = liveTensors();
    const inputs = async (photometric: 'workers' | 'device', workers: number) => {
      const loader = new CropLoader({ source, plan, seed: 3, batchSize: 4, workers, photometric });
      const seen: string[] = [];
      for await (const { groups } of loader.batches(1))
        for (const group of groups)
          seen.push(Buffer.from(scope(() => networkInput(group).bytes())).toString('base64'));
      await loader.close();
      return seen;
    };
    const reference = await inputs('device', 0);
    expect(reference).toHaveLength(9);
    expect(await inputs('workers', 0)).toEqual(reference);
    expect(await inputs('workers', 2)).toEqual(reference);
    expect(liveTensors()).toBe(before);
  });

  it('normalises by the mean and deviation of ImageNet', () => {
    const values = scope(() =>
      normalise(toPlanes(tensor(Uint8Array.of(255, 0, 128)).view([1, 1, 1, 3]))).toArray(),
    );
    const expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (128 / 255 - 0.406) / 0.225];
    expected.forEach((value, i) => void expect(values[i]).toBeCloseTo(value, 5));
  });
});
