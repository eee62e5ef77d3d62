/** The commands of `esvit`, in the order of the overview; none is loaded before it is called. */

import type { CommandTable } from './app.js';

export const commands: CommandTable = {
  golden: {
    summary: 'Compare with numbers that the original code computed',
    load: async () => (await import('./golden.js')).golden,
  },
  'sample-data': {
    summary: 'Draw a labelled picture set of simple objects, by seed',
    load: async () => (await import('./sample-data.js')).sampleData,
  },
};
