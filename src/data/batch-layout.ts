/** Where the parts of a batch lie in its shared memory; main thread and workers compute the same places. */

import type { CropGroup, CropPlan } from './crop-plan.js';
import type { ErasingDraws } from './erase-draws.js';
import type { PhotometricDraws } from './photometric.js';

const ALIGN = 64;

export interface GroupViews {
  group: CropGroup;
  /** uint8 [views * batch, size, size, 3], view by view; here: where it begins in the memory, in bytes */
  cropsOffset: number;
  draws: PhotometricDraws;
  /** only where the plan erases */
  erasing?: ErasingDraws;
}

/** A batch in shared memory. */
export interface SlotViews {
  memory: SharedArrayBuffer;
  bytes: Uint8Array;
  /** [1] the next row that nobody has taken */
  next: Int32Array;
  /** [batch] in: the pictures wanted; out: those used, -1 where there is none */
  indices: Int32Array;
  /** [batch] -1 = no label */
  labels: Int32Array;
  /** [batch] how often the picture came before in this epoch */
  repeats: Int32Array;
  groups: GroupViews[];
}

/** An allocator that only counts, then the same one that hands out views. */
class Places {
  offset = 0;
  constructor(private readonly memory: SharedArrayBuffer | undefined) {}

  take<T>(bytes: number, view: (memory: SharedArrayBuffer, offset: number) => T): T {
    const at = this.offset;
    this.offset = Math.ceil((at + bytes) / ALIGN) * ALIGN;
    return view(this.memory ?? new SharedArrayBuffer(0), this.memory ? at : 0);
  }
}

function lay(memory: SharedArrayBuffer | undefined, plan: CropPlan, batchSize: number) {
  const places = new Places(memory);
  const room = (n: number) => (memory ? n : 0);
  const int32 = (n: number) => places.take(n * 4, (m, at) => new Int32Array(m, at, room(n)));
  const float32 = (n: number) => places.take(n * 4, (m, at) => new Float32Array(m, at, room(n)));
  const uint8 = (n: number) => places.take(n, (m, at) => new Uint8Array(m, at, room(n)));
  const next = int32(1);
  const indices = int32(batchSize);
  const labels = int32(batchSize);
  const repeats = int32(batchSize);
  const groups = plan.groups.map((group): GroupViews => {
    const n = group.views * batchSize;
    const draws: PhotometricDraws = {
      order: uint8(n * 4),
      brightness: float32(n),
      contrast: float32(n),
      saturation: float32(n),
      hue: float32(n),
      gray: uint8(n),
      blurRadius: float32(n),
      solarize: uint8(n),
    };
    const { erasing: policy } = plan;
    const erasing = policy && {
      mode: policy.mode,
      count: policy.count,
      boxes: int32(n * policy.count * 4),
      keys: int32(n),
    };
    const cropsOffset = places.take(n * group.size * group.size * 3, (_, at) => at);
    return { group, cropsOffset, draws, ...(erasing && { erasing }) };
  });
  return { next, indices, labels, repeats, groups, size: places.offset };
}

/** Shared memory for one batch of `plan`. */
export function allocateSlot(plan: CropPlan, batchSize: number): SharedArrayBuffer {
  return new SharedArrayBuffer(lay(undefined, plan, batchSize).size);
}

export function viewSlot(memory: SharedArrayBuffer, plan: CropPlan, batchSize: number): SlotViews {
  const { next, indices, labels, repeats, groups } = lay(memory, plan, batchSize);
  return { memory, bytes: new Uint8Array(memory), next, indices, labels, repeats, groups };
}
