/** The commands of `esvit`, in the order of the overview; none is loaded before it is called. */

import type { CommandTable } from './app.js';

export const commands: CommandTable = {
  train: {
    summary: 'Pre-train a vision transformer on pictures without labels',
    load: async () => (await import('./train.js')).train,
  },
  launch: {
    summary: 'Run a command in several processes, on one machine or many',
    load: async () => (await import('./launch.js')).launch,
  },
  'eval-knn': {
    summary: 'Weighted k-NN accuracy of frozen features',
    load: async () => (await import('./eval-knn.js')).evalKnn,
  },
  forward: {
    summary: 'Run a network on stored tensors and store its features',
    load: async () => (await import('./forward.js')).forward,
  },
  inspect: {
    summary: 'What is in a file of weights: names, shapes, sizes, settings',
    load: async () => (await import('./inspect.js')).inspect,
  },
  convert: {
    summary: "Weights to another format or to another world's names",
    load: async () => (await import('./convert.js')).convert,
  },
  data: {
    summary: 'Check a set of pictures, or pack it for fast reading',
    load: async () => (await import('./data.js')).data,
  },
  'eval-linear': {
    summary: 'Accuracy of a linear classifier on frozen features',
    load: async () => (await import('./eval-linear.js')).evalLinear,
  },
  embed: {
    summary: 'Write the features of pictures, with their names, to a file',
    load: async () => (await import('./embed.js')).embed,
  },
  search: {
    summary: 'Find the pictures of an embedded set that are most like a query',
    load: async () => (await import('./search.js')).search,
  },
  analyze: {
    summary: 'Draw and measure attention and region correspondence of a frozen network',
    load: async () => (await import('./analyze.js')).analyze,
  },
  demo: {
    summary: 'Draw pictures, train on them without labels, and show what came of it',
    load: async () => (await import('./demo.js')).demo,
  },
  models: {
    summary: 'List the published checkpoints, and verify a file of one of them',
    load: async () => (await import('./models.js')).models,
  },
  profile: {
    summary: 'Parameters, cost, memory and speed of networks on this machine',
    load: async () => (await import('./profile.js')).profile,
  },
  doctor: {
    summary: 'Show what this machine offers, and what is wrong or slow',
    load: async () => (await import('./doctor.js')).doctor,
  },
  golden: {
    summary: 'Compare with numbers that the original code computed',
    load: async () => (await import('./golden.js')).golden,
  },
  preview: {
    summary: 'Draw a contact sheet of the crops that the network would see',
    load: async () => (await import('./preview.js')).preview,
  },
  'sample-data': {
    summary: 'Draw a labelled picture set of simple objects, by seed',
    load: async () => (await import('./sample-data.js')).sampleData,
  },
};
