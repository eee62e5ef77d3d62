import { describe, expect, it } from 'vitest';
import {
  drawMixing,
  type MixedPicture,
  type MixingPolicy,
  mixes,
  mixPictures,
} from '../../src/data/index.js';
import { liveTensors, scope, type Tensor, tensor } from '../../src/torch/index.js';

const policy: MixingPolicy = {
  mixup: 0.8,
  cutmix: 1,
  probability: 1,
  switchProbability: 0.5,
  mode: 'batch',
  views: 10,
};
const SIZE = 20;
const draw = (more: Partial<MixingPolicy>, batch: number, index = 0, view = 0) =>
  drawMixing({ seed: 5, epoch: 2, index, view }, { ...policy, ...more }, batch, SIZE);

describe('what is mixed', () => {
  it('is one draw for a batch, for a pair or for a picture', () => {
    const batch = draw({ mode: 'batch' }, 5);
    expect(new Set(batch).size).toBe(1);
    const pairs = draw({ mode: 'pair' }, 6);
    expect(pairs.slice(0, 3).toReversed()).toEqual(pairs.slice(3));
    expect(new Set(pairs).size).toBe(3);
    expect(new Set(draw({ mode: 'elem' }, 6)).size).toBe(6);
    expect(draw({ mode: 'elem' }, 5)[2]).toEqual({ own: 1 }); // it would be its own partner
  });

  it('follows from seed, epoch, picture and view', () => {
    expect(draw({}, 4, 7, 1)).toEqual(draw({}, 4, 7, 1));
    expect(draw({}, 4, 7, 1)).not.toEqual(draw({}, 4, 7, 2));
    expect(draw({}, 4, 7, 1)).not.toEqual(draw({}, 4, 8, 1));
  });

  it('is as frequent and as large as the flags say', () => {
    const many = (more: Partial<MixingPolicy>) => Array.from({ length: 2000 }, (_, i) => draw(more, 2, i)[0]);
    const share = (found: MixedPicture[], test: (one: MixedPicture) => boolean) =>
      found.filter(test).length / found.length;
    expect(share(many({ probability: 0.3 }), ({ own }) => own < 1)).toBeCloseTo(0.3, 1.2);
    expect(share(many({ switchProbability: 0.2 }), ({ box }) => box !== undefined)).toBeCloseTo(0.2, 1.2);
    expect(share(many({ cutmix: 0 }), ({ box }) => box !== undefined)).toBe(0);
    expect(share(many({ mixup: 0 }), ({ box, own }) => box !== undefined || own === 1)).toBe(1);
    for (const { own, box } of many({ mixup: 0 })) {
      if (box === undefined) continue;
      expect(box.top >= 0 && box.left >= 0).toBe(true);
      expect(box.top + box.height <= SIZE && box.left + box.width <= SIZE).toBe(true);
      expect(own).toBeCloseTo(1 - (box.height * box.width) / SIZE ** 2, 12);
    }
    for (const { box } of many({ mixup: 0, cutmix: 0, cutmixMinmax: [0.2, 0.8] })) {
      expect(box!.height >= 4 && box!.height <= 16 && box!.width >= 4 && box!.width <= 16).toBe(true);
      expect(box!.top + box!.height <= SIZE && box!.left + box!.width <= SIZE).toBe(true);
    }
    expect(mixes({ ...policy, mixup: 0, cutmix: 0 })).toBe(false);
    expect(mixes({ ...policy, mixup: 0, cutmix: 0, cutmixMinmax: [0.2, 0.8] })).toBe(true);
    expect(mixes({ ...policy, views: 0 })).toBe(false);
  });
});

describe('the pixels', () => {
  const batch = 3;
  const values = Float32Array.from({ length: batch * 3 * SIZE * SIZE }, (_, i) => i);
  const at = (picture: number, channel: number, y: number, x: number) =>
    ((picture * 3 + channel) * SIZE + y) * SIZE + x;

  it.each<[string, MixedPicture[]]>([
    ['ratios', [{ own: 0.25 }, { own: 1 }, { own: 0.5 }]],
    ['boxes', [{ own: 0.9, box: { top: 1, left: 2, height: 4, width: 10 } }, { own: 1 }, { own: 0.4 }]],
    [
      'one box for all',
      Array<MixedPicture>(batch).fill({ own: 0.9, box: { top: 0, left: 0, height: 20, width: 2 } }),
    ],
  ])('are those of picture and partner: %s', (_, pictures) => {
    const before = liveTensors();
    const [mixed, source] = scope(() => {
      const x = tensor(values).view([batch, 3, SIZE, SIZE]);
      const result: Tensor = mixPictures(x, pictures);
      return [result.toFloat32().slice(), x.toFloat32().slice()];
    });
    expect(source).toEqual(values);
    for (let i = 0; i < batch; i++) {
      const { own, box } = pictures[i];
      for (let c = 0; c < 3; c++)
        for (let y = 0; y < SIZE; y++)
          for (let x = 0; x < SIZE; x++) {
            const mine = values[at(i, c, y, x)];
            const partner = values[at(batch - 1 - i, c, y, x)];
            const isInside =
              box !== undefined &&
              y >= box.top &&
              y < box.top + box.height &&
              x >= box.left &&
              x < box.left + box.width;
            const share = box === undefined ? own : isInside ? 0 : 1;
            expect(mixed[at(i, c, y, x)]).toBeCloseTo(mine * share + partner * (1 - share), 2);
          }
    }
    expect(liveTensors()).toBe(before);
  });
});
