/** The run folder: the only thing that a trainer and whoever watches it share. */

export { CheckpointFiles } from './checkpoint-files.js';
export { Claim } from './claim.js';
export { type LogEntry, RunFolder, type RunStatus, readEntries } from './run-folder.js';
