/** What works for people without a cluster: every automatic choice that depends on the data or the machine. */

/** Rows are tried in order; the first whose limit is not exceeded counts. */
type Table<T> = readonly (readonly [atMost: number, value: T])[];

export function lookUp<T>(table: Table<T>, value: number): T {
  const row = table.find(([atMost]) => value <= atMost) ?? table[table.length - 1];
  return row[1];
}

const REST = Number.POSITIVE_INFINITY;

/** Output width of the heads by number of pictures: too many prototypes for the data collapse to uniform. */
export const OUT_DIM: Table<number> = [
  [20_000, 1024],
  [100_000, 2048],
  [600_000, 4096],
  [2_000_000, 16_384],
  [REST, 65_536],
];

/** Pictures that a run should see in all, by device; epochs follow from it. */
export const PICTURES_SEEN = { cpu: 200_000, cuda: 20_000_000 } as const;
export const EPOCHS = { least: 10, most: { cpu: 100, cuda: 300 } } as const;

/** Teacher momentum at the start by number of steps: a short run needs a teacher that moves. */
export const MOMENTUM: Table<number> = [
  [10_000, 0.99],
  [100_000, 0.996],
  [REST, 0.9995],
];

export const TEACHER_TEMP = {
  warmup: 0.04,
  final: { small: 0.04, large: 0.07 },
  largeFrom: 500_000,
  warmupShare: 0.3,
} as const;

/**
 * Up to so many steps a run is short: self-labelling alone hardly starts, so pictures are told apart as well, with batch
 * norm in the heads, weights start wide, and the learning rate is that of the step, whatever its batch (docs/recipes.md).
 */
export const SHORT_RUN = { steps: 20_000, contrastWeight: 10, stepLr: 0.001 } as const;
export const WARMUP_SHARE = 0.1;

/** Networks narrower than this stay silent for long when they start with the original's weights, however long they learn. */
export const NARROW = 96;

/** Widths of the projection heads: the original's are larger than a small backbone itself. */
export const HEAD = {
  cpu: { hidden: 512, bottleneck: 128 },
  cuda: { hidden: 2048, bottleneck: 256 },
} as const;

export const BATCH = { cpu: 64, cuda: { small: 256, large: 64 } } as const;
/** CPU memory under which a batch of 64 is too much, in bytes, and the batch there. */
export const LITTLE_MEMORY = { bytes: 4 * 2 ** 30, batch: 32 } as const;

/** Global crop, local crop, local crop count by median picture side: what a CPU can take, what a GPU can. */
export interface CropChoice {
  readonly global: number;
  readonly local: number;
  readonly localNumber: number;
  readonly globalScale: readonly [number, number];
  readonly localScale: readonly [number, number];
  readonly blurRadius: readonly [number, number];
}

const TINY_SCALES = { globalScale: [0.4, 1], localScale: [0.1, 0.4], blurRadius: [0.1, 0.6] } as const;
const SCALES = { globalScale: [0.4, 1], localScale: [0.05, 0.4], blurRadius: [0.1, 2] } as const;

export const CROPS: Readonly<Record<'cpu' | 'cuda', Table<CropChoice>>> = {
  cpu: [
    // More local crops make steps dearer and no better (docs/recipes.md).
    [48, { global: 32, local: 16, localNumber: 2, ...TINY_SCALES }],
    [80, { global: 64, local: 32, localNumber: 4, ...TINY_SCALES }],
    [REST, { global: 96, local: 48, localNumber: 4, ...SCALES }],
  ],
  cuda: [
    [48, { global: 32, local: 16, localNumber: 8, ...TINY_SCALES }],
    [80, { global: 64, local: 32, localNumber: 8, ...TINY_SCALES }],
    [160, { global: 128, local: 64, localNumber: 8, ...SCALES }],
    [REST, { global: 224, local: 96, localNumber: 8, ...SCALES }],
  ],
};

export interface ModelChoice {
  readonly arch: string;
  readonly name: string;
  readonly spec: Readonly<Record<string, unknown>>;
}

const swin = (spec: Readonly<Record<string, unknown>>) => ({
  MLP_RATIO: 4,
  QKV_BIAS: true,
  DROP_RATE: 0,
  ATTN_DROP_RATE: 0,
  DROP_PATH_RATE: 0.1,
  USE_APE: false,
  PATCH_NORM: true,
  ...spec,
});

const SWIN_NAME = 'swin_transformer';
const TINY = { DIM_EMBED: 96, DEPTHS: [2, 2, 6, 2], NUM_HEADS: [3, 6, 12, 24] };
const TINY_DIMS = { DIM_EMBED: 96, DEPTHS: [2, 2], NUM_HEADS: [3, 6], DROP_PATH_RATE: 0 };
const SMALL_DIMS = { DIM_EMBED: 48, DEPTHS: [2, 2, 2], NUM_HEADS: [2, 4, 8], DROP_PATH_RATE: 0 };

/** The network by side of the global crop: a small Swin on a CPU, Swin-T on a GPU. */
export const MODELS: Readonly<Record<'cpu' | 'cuda', Table<ModelChoice>>> = {
  cpu: [
    [32, { arch: 'swin', name: SWIN_NAME, spec: swin({ ...TINY_DIMS, PATCH_SIZE: 4, WINDOW_SIZE: 4 }) }],
    [64, { arch: 'swin', name: SWIN_NAME, spec: swin({ ...SMALL_DIMS, PATCH_SIZE: 4, WINDOW_SIZE: 4 }) }],
    [REST, { arch: 'swin', name: SWIN_NAME, spec: swin({ ...SMALL_DIMS, PATCH_SIZE: 4, WINDOW_SIZE: 6 }) }],
  ],
  cuda: [
    [
      32,
      {
        arch: 'swin',
        name: SWIN_NAME,
        spec: swin({ ...TINY, DEPTHS: [2, 2, 6], NUM_HEADS: [3, 6, 12], PATCH_SIZE: 2, WINDOW_SIZE: 4 }),
      },
    ],
    [
      64,
      {
        arch: 'swin',
        name: SWIN_NAME,
        spec: swin({ ...TINY, DEPTHS: [2, 2, 6], NUM_HEADS: [3, 6, 12], PATCH_SIZE: 4, WINDOW_SIZE: 4 }),
      },
    ],
    [REST, { arch: 'swin_tiny', name: SWIN_NAME, spec: swin({ ...TINY, PATCH_SIZE: 4, WINDOW_SIZE: 7 }) }],
  ],
};

/** Both tasks from the start. */
export const DENSE = true;
