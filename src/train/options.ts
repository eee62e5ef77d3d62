/** Every flag of `esvit train`: the original's under their names and defaults, and our own. */

import { z } from 'zod';
import { ORIGINAL_DEFAULTS } from './original-defaults.js';

type OriginalName = keyof typeof ORIGINAL_DEFAULTS;

const text = () => z.string();
const bool = () => z.boolean();
const count = (least = 1) => z.number().int().min(least);
const fraction = () => z.number().min(0).max(1);
const positive = () => z.number().positive();
const scale = () => z.array(z.number()).length(2);

function show(value: unknown): string {
  if (Array.isArray(value)) return value.join(' ');
  return value === true ? 'True' : value === false ? 'False' : value === '' ? 'none' : String(value);
}

/** A group of flags under one heading. */
function heading(group: string) {
  return {
    /** Unset means: chosen for the data and the machine, or the original's default (see `--defaults`). */
    auto: <T extends z.ZodType>(name: OriginalName, type: T, description: string) =>
      type.optional().meta({
        description: `${description} (automatic; original: ${show(ORIGINAL_DEFAULTS[name])})`,
        group,
      }),
    /** Unset means the original's default, whatever the data. */
    fixed: <T extends z.ZodType>(name: OriginalName, type: T, description: string) =>
      type.prefault(ORIGINAL_DEFAULTS[name] as never).meta({ description, group }),
    own: <T extends z.ZodType>(type: T, description: string) => type.meta({ description, group }),
  };
}

const experiment = heading('Experiment');
const model = heading('Model');
const teacher = heading('Teacher');
const optimisation = heading('Optimisation');
const crops = heading('Crops');
const augmentation = heading('Augmentation');
const mixing = heading('Mixup');
const data = heading('Data');
const output = heading('Run folder');
const machine = heading('Machine');

export const trainOptions = z.strictObject({
  data_path: data.own(
    text().optional(),
    'Pictures: a folder of them (class sub-folders or flat), or of zips, TSVs, tar shards or lists; docs/data.md names all layouts',
  ),
  dataset: data.fixed(
    'dataset',
    text(),
    'Name of the data set; webvision1, openimages_v4 and imagenet22k ask for their layouts',
  ),
  zip_mode: data.fixed(
    'zip_mode',
    bool(),
    'Read train.zip and train_map.txt in --data_path (found out if not given)',
  ),
  tsv_mode: data.fixed(
    'tsv_mode',
    bool(),
    'Read train.tsv or train/*.tsv in --data_path (found out if not given)',
  ),
  sampler: data.fixed(
    'sampler',
    z.enum(['distributed', 'chunk', 'repeated', 'class_aware', 'class_target']),
    'Order of the pictures: all of them shuffled; shard after shard; each --repeats times; equally many of each class; --target_size of them, evenly over the classes',
  ),
  repeats: data.own(count().default(3), 'Times that a picture comes in a row, for --sampler repeated'),
  samples_per_class: data.own(
    text().default('average'),
    "Pictures of each class in an epoch, for --sampler class_aware: a number, 'average' or 'median'",
  ),
  target_size: data.own(count(0).default(0), 'Pictures of an epoch, for --sampler class_target; 0 for all'),
  max_bad_fraction: data.own(
    fraction().default(0.5),
    'The run ends when more than this share of the pictures cannot be read',
  ),
  num_workers: data.auto('num_workers', count(), 'Threads that decode and crop, for each process'),

  cfg: experiment.own(
    text().optional(),
    'YAML file of the experiment; its PRETRAIN section may hold any of these flags',
  ),
  defaults: experiment.own(
    z.enum(['auto', 'original']).optional(),
    "Where flags that are not given come from: the data and the machine, or the original's values (the default as soon as --cfg or --arch is given)",
  ),
  seed: experiment.fixed('seed', z.number().int(), 'All random numbers follow from it'),

  arch: model.auto('arch', text(), 'Architecture, e.g. swin_tiny'),
  patch_size: model.fixed('patch_size', count(), 'Side of a patch, for plain vision transformers only'),
  out_dim: model.auto('out_dim', count(2), 'Width of the output of the projection heads'),
  norm_last_layer: model.auto(
    'norm_last_layer',
    bool(),
    "Keep the norm of the heads' last layer at 1: more stable, slightly less accurate",
  ),
  weight_init: model.auto(
    'weight_init',
    z.enum(['original', 'fan_in']),
    "How linear maps start: with the original's deviation of 0.02, which suits widths of 96 and more, or with 1/sqrt(inputs)",
  ),
  use_bn_in_head: model.auto('use_bn_in_head', bool(), 'Batch normalisation in the projection heads'),
  head_hidden_dim: model.auto(
    'head_hidden_dim',
    count(),
    'Width of the hidden layers of the projection heads',
  ),
  head_bottleneck_dim: model.auto(
    'head_bottleneck_dim',
    count(),
    'Width of the projection heads before their last layer',
  ),
  use_dense_prediction: model.auto('use_dense_prediction', bool(), 'Match regions as well as views'),

  momentum_teacher: teacher.auto(
    'momentum_teacher',
    fraction(),
    'Share of the teacher that stays at each step; rises to 1',
  ),
  contrast_weight: teacher.auto(
    'contrast_weight',
    z.number().min(0),
    'Share of a third task beside the two of the paper: to tell pictures apart, as SimCLR does; short runs need it',
  ),
  contrast_temp: teacher.fixed('contrast_temp', positive(), 'Temperature of that task'),
  warmup_teacher_temp: teacher.auto('warmup_teacher_temp', positive(), 'Teacher temperature at the start'),
  teacher_temp: teacher.auto(
    'teacher_temp',
    positive(),
    'Teacher temperature after its warm-up; above 0.07 is rarely stable',
  ),
  warmup_teacher_temp_epochs: teacher.auto(
    'warmup_teacher_temp_epochs',
    count(0),
    'Epochs from the one temperature to the other',
  ),

  optimizer: optimisation.fixed('optimizer', z.enum(['adamw', 'sgd', 'lars']), 'Optimiser'),
  lr: optimisation.auto(
    'lr',
    positive(),
    'Highest learning rate for 256 pictures a step; scaled with the true number',
  ),
  min_lr: optimisation.auto('min_lr', z.number().min(0), 'Learning rate at the end'),
  warmup_epochs: optimisation.auto('warmup_epochs', count(0), 'Epochs over which the learning rate rises'),
  weight_decay: optimisation.auto('weight_decay', z.number().min(0), 'Weight decay at the start'),
  weight_decay_end: optimisation.auto('weight_decay_end', z.number().min(0), 'Weight decay at the end'),
  clip_grad: optimisation.fixed(
    'clip_grad',
    z.number().min(0),
    'Largest gradient norm of each parameter; 0 switches it off',
  ),
  batch_size_per_gpu: optimisation.auto('batch_size_per_gpu', count(), 'Pictures in a batch of each process'),
  accumulate: optimisation.own(count().default(1), 'Batches whose gradients are added up before a step'),
  epochs: optimisation.auto('epochs', count(), 'Passes over the data'),
  freeze_last_layer: optimisation.auto(
    'freeze_last_layer',
    count(0),
    "Epochs during which the heads' last layer stays as it is",
  ),
  max_iterations: optimisation.own(
    count().optional(),
    'End in good order after so many iterations of the whole run',
  ),

  global_crops_size: crops.auto('global_crops_size', count(), 'Side of the two global crops, in pixels'),
  global_crops_scale: crops.auto(
    'global_crops_scale',
    scale(),
    "Least and greatest share of the picture's area in a global crop",
  ),
  local_crops_number: crops.auto(
    'local_crops_number',
    z.array(count(0)).min(1),
    'Local crops of each size; 0 for none',
  ),
  local_crops_size: crops.auto(
    'local_crops_size',
    z.array(count()).min(1),
    'Sides of the local crops, in pixels',
  ),
  local_crops_scale: crops.auto(
    'local_crops_scale',
    scale(),
    "Least and greatest share of the picture's area in a local crop",
  ),

  blur_radius: augmentation.auto(
    'blur_radius',
    scale(),
    'Least and greatest radius of the blur, in pixels; small pictures need less',
  ),
  hue_jitter: augmentation.auto(
    'hue_jitter',
    z.number().min(0).max(0.5),
    'Greatest turn of the hues, 0.5 is all the way round; more makes shape count more than colour',
  ),
  gray_probability: augmentation.auto(
    'gray_probability',
    fraction(),
    'Share of crops that lose their colours',
  ),
  invert_probability: augmentation.fixed(
    'invert_probability',
    fraction(),
    'Share of crops that are inverted, so that brightness does not tell which crops belong together',
  ),
  aug_opt: augmentation.fixed(
    'aug_opt',
    z.enum(['dino_aug', 'deit_aug', 'mocov2_aug', 'basic_aug']),
    'Augmentation policy',
  ),
  color_jitter: augmentation.fixed('color_jitter', z.number().min(0), 'Colour jitter of deit_aug'),
  aa: augmentation.fixed('aa', text(), 'Automatic augmentation of deit_aug'),
  train_interpolation: augmentation.fixed(
    'train_interpolation',
    z.enum(['random', 'bilinear', 'bicubic']),
    'Resampling of deit_aug',
  ),
  reprob: augmentation.fixed('reprob', fraction(), 'Probability of random erasing in deit_aug'),
  remode: augmentation.fixed(
    'remode',
    z.enum(['const', 'rand', 'pixel']),
    'Filling of random erasing in deit_aug',
  ),
  recount: augmentation.fixed('recount', count(), 'Rectangles of random erasing in deit_aug'),
  resplit: augmentation.fixed('resplit', bool(), 'Spare the first split from random erasing'),

  use_mixup: mixing.fixed('use_mixup', bool(), 'Mix the pictures of a batch'),
  num_mixup_views: mixing.fixed('num_mixup_views', count(0), 'Views that are mixed'),
  mixup: mixing.fixed('mixup', z.number().min(0), 'Alpha of mixup'),
  cutmix: mixing.fixed('cutmix', z.number().min(0), 'Alpha of cutmix'),
  cutmix_minmax: mixing.own(scale().optional(), 'Least and greatest ratio of cutmix, in place of its alpha'),
  mixup_prob: mixing.fixed('mixup_prob', fraction(), 'Probability of mixing at all'),
  mixup_switch_prob: mixing.fixed('mixup_switch_prob', fraction(), 'Probability of cutmix where both are on'),
  mixup_mode: mixing.fixed('mixup_mode', z.enum(['batch', 'pair', 'elem']), 'What shares one ratio'),
  smoothing: mixing.fixed('smoothing', fraction(), 'Label smoothing of the mixing targets'),

  output_dir: output.auto('output_dir', text(), 'Where checkpoints and logs go'),
  pretrained_weights_ckpt: output.fixed(
    'pretrained_weights_ckpt',
    text(),
    'Checkpoint of another run whose weights, centres and epoch a new run takes over, e.g. both tasks after views alone; heads that are not in it start fresh',
  ),
  pretrained_weights: output.own(
    text().default(''),
    'Weights that a new run starts from at epoch 0: a file, an https address, or a name of esvit models',
  ),
  checkpoint_key: output.own(
    text().optional(),
    'Part of the file of --pretrained_weights (automatic: teacher, student, state_dict, model)',
  ),
  weights_base: output.own(
    text().optional(),
    'Folder or https address where files of esvit models lie (else: ESVIT_WEIGHTS of the environment)',
  ),
  resume: output.own(
    text().default('auto'),
    "'auto' goes on with an interrupted run in --output_dir, 'never' refuses to, a file is the checkpoint of a run to go on with",
  ),
  saveckp_freq: output.auto(
    'saveckp_freq',
    count(0),
    'Let the checkpoint of every so many epochs stay; 0 none',
  ),
  keep_checkpoints: output.own(
    count().default(2),
    'Newest checkpoints to keep: with 2, the one before the newest is there too',
  ),
  checkpoint_every_iterations: output.own(
    count(0).default(0),
    'Save inside an epoch every so many iterations; 0 never',
  ),
  checkpoint_every_minutes: output.own(
    z.number().min(0).default(10),
    'Save inside an epoch every so many minutes; 0 never',
  ),
  health_every: output.own(
    count(0).default(50),
    'Measure the health of the run every so many iterations; 0 never',
  ),
  knn_every: output.own(count(0).default(0), 'Evaluate k-NN every so many epochs on labelled data; 0 never'),

  device: machine.own(z.enum(['auto', 'cpu', 'cuda']).default('auto'), 'Where to compute'),
  precision: machine.own(
    z.enum(['auto', 'fp32', 'bf16', 'fp16']).default('auto'),
    'Number format of the heavy operations',
  ),
  use_fp16: machine.auto('use_fp16', bool(), 'Half precision; False asks for fp32'),
  threads: machine.own(
    count().optional(),
    'Threads that compute on the CPU (automatic: all cores, shared by the processes of a machine)',
  ),
  dist_timeout: machine.own(
    z.number().positive().default(600),
    'Seconds that a process waits for the others before the run counts as failed',
  ),
  gradient_wire: machine.own(
    z.enum(['fp32', 'bf16']).default('fp32'),
    'Number format of gradients on their way between processes',
  ),
  dist_url: machine.fixed('dist_url', text(), 'How processes find each other; only env://, the environment'),
  local_rank: machine.fixed(
    'local_rank',
    z.number().int(),
    'Accepted for older launchers; LOCAL_RANK of the environment is what counts',
  ),
});

export type TrainOptions = z.output<typeof trainOptions>;
export type TrainOptionName = keyof TrainOptions;

/** Other names of flags. */
export const trainAliases = { workers: 'num_workers', batch_size: 'batch_size_per_gpu' } as const;

/** The same flags as a section of an experiment file: all optional, no defaults. */
export const pretrainSection = z.strictObject(
  Object.fromEntries(
    Object.entries(trainOptions.shape)
      .filter(([name]) => name !== 'cfg' && name !== 'local_rank')
      .map(([name, field]) => [name, withoutDefault(field).optional()]),
  ),
) as unknown as z.ZodType<Partial<TrainOptions>>;

function withoutDefault(field: z.ZodType): z.ZodType {
  if (field instanceof z.ZodPrefault || field instanceof z.ZodDefault || field instanceof z.ZodOptional)
    return withoutDefault(field.def.innerType as z.ZodType);
  return field;
}
